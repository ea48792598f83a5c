//! Answers with the method, the target and the header fields that `x-show` names, one value a line.

use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;

/// What came.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let mut lines = vec![format!("{} {}", request.method(), request.uri())];
    let shown = request.headers().get("x-show");
    let shown = shown.and_then(|names| names.to_str().ok()).unwrap_or_default();
    for name in shown.split_whitespace() {
        for value in request.headers().get_all(name) {
            let mut value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if name == "spin-client-addr" {
                value = without_port(&value);
            }
            lines.push(format!("{name}: \"{value}\""));
        }
    }
    lines.join("\n")
}

/// A client's port is another one for each connection.
fn without_port(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{address} (no address)"),
    }
}
