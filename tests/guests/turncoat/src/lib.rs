//! A guest that is well when it is asked, and fails at whatever it is asked else.

use http::{Response, StatusCode};
use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use std::time::Duration;

/// Answers 200 to a look at its health, 500 to all else; to what has `hang` in its query not within anybody's patience.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let is_asked_how_it_is = request.uri().path().ends_with("/health");
    if request.uri().query().is_some_and(|query| query.contains("hang")) {
        spin_sdk::time::sleep(Duration::from_secs(3_600)).await;
    }
    let mut response = Response::new(String::new());
    if !is_asked_how_it_is {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}
