//! Answers with the component's own name and what the wildcard of its route stands for.

use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::variables;

/// Who answers, and for which path.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let name = variables::get("name").await.unwrap_or_default();
    let path_info = request.headers().get("spin-path-info");
    let path_info = path_info.and_then(|path| path.to_str().ok()).unwrap_or("-");
    format!("{name} \"{path_info}\"")
}
