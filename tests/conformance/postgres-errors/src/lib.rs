//! Runs the statement in the body, and tells what its error says: `/query`, `/execute`, or `/open` alone. The address is
//! the variable `postgres_url`, with the header `x-options` behind it, or the header `x-address`.

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{HeaderMap, IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::pg::{Connection, DbError, Error, PgError, QueryError};
use spin_sdk::variables;

/// What became of it.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let statement = String::from_utf8_lossy(&body.bytes().await.unwrap_or_default()).into_owned();
    let address = address(&parts.headers).await;
    let result = match parts.uri.path() {
        "/open" => Connection::open(address).await.map(|_| "opened".to_owned()),
        "/execute" => execute(address, statement).await,
        "/half" => read_half(address, statement).await,
        _ => query(address, statement).await,
    };
    result.unwrap_or_else(|error| explain(&error))
}

async fn address(headers: &HeaderMap) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match header("x-address") {
        Some(address) => address.to_owned(),
        None => {
            let address = variables::get("postgres_url").await.unwrap_or_default();
            address + header("x-options").unwrap_or_default()
        }
    }
}

async fn execute(address: String, statement: String) -> Result<String, Error> {
    let connection = Connection::open(address).await?;
    Ok(format!("{} rows", connection.execute(statement, []).await?))
}

/// How many rows came, and how the result ended.
async fn query(address: String, statement: String) -> Result<String, Error> {
    let connection = Connection::open(address).await?;
    let mut result = connection.query(statement, []).await?;
    let columns = result.columns().len();
    let mut rows = 0;
    while result.next().await.is_some() {
        rows += 1;
    }
    let end = match result.result().await {
        Ok(()) => "the end".to_owned(),
        Err(error) => explain(&error),
    };
    Ok(format!("{columns} columns, {rows} rows, then {end}"))
}

/// Takes one row of a result and no more, and uses the connection again.
async fn read_half(address: String, statement: String) -> Result<String, Error> {
    let connection = Connection::open(address).await?;
    let mut result = connection.query(statement, []).await?;
    let first = result.next().await.is_some();
    drop(result);
    let again = connection.query("select 1", []).await?.collect().await?.len();
    Ok(format!("first row: {first}, then {again} row"))
}

/// Of what the host says itself only the kind: each has its own words.
fn explain(error: &Error) -> String {
    match error {
        Error::PgError(PgError::ConnectionFailed(text)) if text.contains("permitted") => text.clone(),
        Error::PgError(PgError::ConnectionFailed(_)) => "connection failed".to_owned(),
        Error::PgError(PgError::QueryFailed(QueryError::DbError(error))) => show(error),
        Error::PgError(PgError::QueryFailed(QueryError::Text(_))) => "query failed".to_owned(),
        error => format!("{error:?}"),
    }
}

/// Without the place in the server's source, which is another one in each version.
fn show(error: &DbError) -> String {
    let mut lines = vec![format!("{} {}: {}", error.severity, error.code, error.message)];
    if let Some(detail) = &error.detail {
        lines.push(format!("detail: {detail}"));
    }
    for (name, value) in &error.extras {
        if !["file", "line", "routine"].contains(&name.as_str()) {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines.join("\n")
}
