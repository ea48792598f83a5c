//! Fails as the path says.

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderValue, StatusCode};
use bytes::Bytes;
use http_body::{Body, Frame};
use spin_sdk::http::{Error, IntoResponse, Request, Response};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Traps, errs, lies about its length, or never comes to an end.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    Ok::<_, Error>(match request.uri().path() {
        "/abort" => std::process::abort(),
        "/overflow" => Response::new(Said::text(overflow(u64::MAX).to_string())),
        "/error" => return Err(Error::other("on purpose")),
        "/short" => with_length("100", Said::text("abc")),
        "/long" => with_length("1", Said::text("abc")),
        "/stuck" => with_length("10", Said::silence()),
        "/silent" => Response::new(Said::silence()),
        "/protocol" => with_status(StatusCode::SWITCHING_PROTOCOLS),
        "/sleep" => {
            sleep().await;
            Response::new(Said::text("at last"))
        }
        _ => Response::new(Said::text("well")),
    })
}

/// The body of an answer.
pub enum Said {
    /// What is left of it.
    Text(Option<Bytes>),
    /// It comes when nobody waits any more.
    Silence(Pin<Box<dyn Future<Output = ()>>>),
}

impl Said {
    fn text(text: impl Into<Bytes>) -> Said {
        Said::Text(Some(text.into()))
    }

    fn silence() -> Said {
        Said::Silence(Box::pin(sleep()))
    }
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Said::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Said::Silence(sleep) => sleep.as_mut().poll(cx).map(|()| None),
        }
    }
}

fn with_length(length: &'static str, body: Said) -> Response<Said> {
    let mut response = Response::new(body);
    let length = HeaderValue::from_static(length);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

fn with_status(status: StatusCode) -> Response<Said> {
    let mut response = Response::new(Said::text(""));
    *response.status_mut() = status;
    response
}

/// Longer than anybody waits.
async fn sleep() {
    spin_sdk::time::sleep(Duration::from_secs(3_600)).await;
}

/// Uses up the stack.
fn overflow(depth: u64) -> u64 {
    let below = if std::hint::black_box(depth) == 0 {
        0
    } else {
        overflow(depth - 1)
    };
    std::hint::black_box(below) + 1
}
