//! Executes each line of the body on one connection, and answers with what `/ask`'s only line selects: one text.

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::pg::{Connection, DbValue, Error, PgError, QueryError};
use spin_sdk::variables;

/// `/run` or `/ask`.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let text = String::from_utf8_lossy(&body.bytes().await.unwrap_or_default()).into_owned();
    let result = match parts.uri.path() {
        "/ask" => ask(text).await,
        _ => run(&text).await,
    };
    result.unwrap_or_else(|error| match error {
        Error::PgError(PgError::QueryFailed(QueryError::DbError(error))) => error.code,
        error => format!("{error:?}"),
    })
}

async fn run(statements: &str) -> Result<String, Error> {
    let connection = connect().await?;
    for statement in statements.lines() {
        connection.execute(statement, []).await?;
    }
    Ok("done".to_owned())
}

async fn ask(statement: String) -> Result<String, Error> {
    let connection = connect().await?;
    let rows = connection.query(statement, []).await?.collect().await?;
    Ok(match rows.first().map(|row| &row[0]) {
        Some(DbValue::Str(text)) => text.clone(),
        value => format!("{value:?}"),
    })
}

async fn connect() -> Result<Connection, Error> {
    Connection::open(variables::get("postgres_url").await.unwrap_or_default()).await
}
