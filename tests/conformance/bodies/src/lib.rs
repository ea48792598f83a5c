//! Bodies, by the path: `/echo`, `/length` of what came, `/stream` of three parts, `/none`.

use bytes::Bytes;
use futures::SinkExt as _;
use spin_sdk::http::body::{IncomingBodyExt as _, stream};
use spin_sdk::http::{BoxBody, FullBody, IntoResponse, Request, Response, StatusCode, box_body};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;

/// A body, or something about one.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        "/echo" => whole(body.bytes().await.unwrap_or_default()),
        "/length" => match body.bytes().await {
            Ok(body) => whole(format!("{} bytes", body.len())),
            Err(code) => whole(format!("{code:?}")),
        },
        "/stream" => streamed(),
        "/none" => {
            let mut response = whole(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        _ => whole("whole"),
    }
}

fn whole(body: impl Into<Bytes>) -> Response<BoxBody> {
    Response::new(box_body(FullBody::new(body.into())))
}

/// Its parts come one after the other, long after its head: the pauses are what makes it a stream to whoever reads it.
fn streamed() -> Response<BoxBody> {
    let (mut parts, body) = stream::<&'static str>();
    spin_sdk::wasip3::spawn(async move {
        for part in ["one ", "two ", "three"] {
            spin_sdk::time::sleep(std::time::Duration::from_millis(50)).await;
            if parts.send(part).await.is_err() {
                break;
            }
        }
    });
    Response::new(box_body(body))
}
