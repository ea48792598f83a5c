//! Answers with the variable that the path names, or how it is refused.

use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::variables::{self, Error};

/// The variable `…/<name>`.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    match variables::get(name).await {
        Ok(value) => format!("\"{value}\""),
        // What is wrong with a name is explained in each host's own words.
        Err(Error::InvalidName(_)) => "invalid name".to_owned(),
        Err(Error::Undefined(text)) => format!("undefined: {text}"),
        Err(Error::Provider(text)) => format!("provider: {text}"),
        Err(Error::Other(text)) => format!("other: {text}"),
    }
}
