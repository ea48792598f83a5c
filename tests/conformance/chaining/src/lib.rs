//! Calls the address in `x-url` and hands on what comes back, or shows what came to it.

use bytes::Bytes;
use http_body_util::Full;
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{Error, IntoResponse, Request, Response};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;

/// By the end of the path: `call`, `trap`, `teapot`; everything else is shown.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    match request.uri().path().rsplit('/').next().unwrap_or_default() {
        "call" => call(request).await.unwrap_or_else(|error| {
            let said = match error {
                Error::ErrorCode(code) => format!("{code:?}"),
                other => other.to_string(),
            };
            Response::new(Full::from(said))
        }),
        "trap" => std::process::abort(),
        "teapot" => {
            let mut response = Response::new(Full::from("short and stout"));
            *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
            let handle = http::HeaderValue::from_static("handle");
            response.headers_mut().insert("x-spout", handle);
            response
        }
        _ => Response::new(Full::from(show(request).await)),
    }
}

/// The same method, headers and body go to the address; the answer's status, `x-spout` and body come back as text.
async fn call(request: Request) -> Result<Response<Full<Bytes>>, Error> {
    let (parts, body) = request.into_parts();
    let url = parts.headers.get("x-url").map(http::HeaderValue::as_bytes);
    let mut sent = http::Request::builder()
        .method(parts.method)
        .uri(url.unwrap_or_default());
    for (name, value) in &parts.headers {
        if name.as_str().starts_with("x-") || name.as_str().starts_with("spin-") {
            sent = sent.header(name, value);
        }
    }
    let sent = sent.body(Full::new(body.bytes().await?))?;
    let (parts, body) = spin_sdk::http::send(sent).await?.into_parts();
    let spout = parts.headers.get("x-spout").map(http::HeaderValue::as_bytes);
    let said = format!(
        "{} {} {}",
        parts.status.as_u16(),
        String::from_utf8_lossy(spout.unwrap_or(b"-")),
        String::from_utf8_lossy(&body.bytes().await?),
    );
    Ok(Response::new(Full::from(said)))
}

async fn show(request: Request) -> String {
    let (parts, body) = request.into_parts();
    let mut lines = vec![format!("{} {}", parts.method, parts.uri)];
    for name in [
        "host",
        "x-note",
        "spin-path-info",
        "spin-full-url",
        "spin-matched-route",
        "spin-base-path",
        "spin-raw-component-route",
        "spin-component-route",
        "spin-client-addr",
    ] {
        // The last one is the host's own.
        let last = parts.headers.get_all(name).iter().next_back();
        let last = last.map_or("-".into(), |value| String::from_utf8_lossy(value.as_bytes()));
        lines.push(format!("{name}: \"{last}\""));
    }
    let body = body.bytes().await.unwrap_or_default();
    lines.push(String::from_utf8_lossy(&body).into_owned());
    lines.join("\n")
}
