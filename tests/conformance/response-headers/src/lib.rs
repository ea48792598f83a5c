//! Answers with header fields, or says which of them its host refuses.

use ::http::{HeaderValue, StatusCode};
use spin_sdk::http::{IntoResponse, Request, Response};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::wasip3::http::types::{Fields, HeaderError};

/// `/append` tries the field `x-name` with the value `x-value`, where `\n`, `\r`, `\0` and `\xff` stand for the
/// characters; `/several` answers with fields of its own.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    if request.uri().path() == "/several" {
        return several();
    }
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        unescape(value.unwrap_or_default())
    };
    let name = String::from_utf8_lossy(&header("x-name")).into_owned();
    let mut value = header("x-value");
    if let Ok(length) = String::from_utf8_lossy(&header("x-length")).parse() {
        value = vec![b'a'; length];
    }
    Response::new(match Fields::new().append(&name, &value) {
        Ok(()) => "taken".to_owned(),
        Err(HeaderError::InvalidSyntax) => "invalid syntax".to_owned(),
        Err(HeaderError::Forbidden) => "forbidden".to_owned(),
        Err(HeaderError::SizeExceeded) => "size exceeded".to_owned(),
        Err(error) => format!("{error:?}"),
    })
}

fn several() -> Response<String> {
    let mut response = Response::new("several".to_owned());
    *response.status_mut() = StatusCode::IM_A_TEAPOT;
    let headers = response.headers_mut();
    for (name, value) in [
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x-empty", ""),
        ("server", "of my own"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    response
}

/// No client can send these characters in a header.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escapes: [(&str, u8); 4] = [("\\n", b'\n'), ("\\r", b'\r'), ("\\0", 0), ("\\xff", 0xff)];
        match escapes.iter().find(|(escape, _)| rest.starts_with(escape)) {
            Some((escape, byte)) => {
                bytes.push(*byte);
                rest = &rest[escape.len()..];
            }
            None => {
                bytes.extend(first.to_string().bytes());
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    bytes
}
