//! A guest that traps at its first request.

use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;

/// Ends the instance.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(_request: Request) -> impl IntoResponse {
    std::process::abort();
    #[allow(unreachable_code)]
    ""
}
