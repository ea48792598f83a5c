//! Tries to reach the address in `x-address`: `/http`, `/redis` or `/postgres`.

use spin_sdk::http::{self, IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::{pg, redis, wasip3::http::types::ErrorCode};

/// What became of it.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let address = request.headers().get("x-address");
    let address = address
        .and_then(|address| address.to_str().ok())
        .unwrap_or_default();
    match request.uri().path() {
        "/http" => match http::get(address).await {
            Ok(response) => response.status().as_u16().to_string(),
            // A name that nobody has is explained by whoever looked for it.
            Err(ErrorCode::DnsError(_)) => "ErrorCode::DnsError".to_owned(),
            Err(code) => format!("{code:?}"),
        },
        "/redis" => match redis::Connection::open(address).await {
            Ok(_) => "opened".to_owned(),
            Err(redis::Error::InvalidAddress) => "invalid address".to_owned(),
            Err(error) => format!("{error:?}"),
        },
        "/postgres" => match pg::Connection::open(address).await {
            Ok(_) => "opened".to_owned(),
            Err(pg::Error::PgError(pg::PgError::ConnectionFailed(text))) if text.contains("permitted") => {
                text
            }
            Err(pg::Error::PgError(pg::PgError::ConnectionFailed(_))) => "connection failed".to_owned(),
            Err(error) => format!("{error:?}"),
        },
        _ => "hello".to_owned(),
    }
}
