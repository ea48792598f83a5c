//! A guest that does, by the path it is asked for, what a host must survive or refuse. Addresses come in `x-address`;
//! the answer's body says what became of them.

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use http_body::{Body, Frame};
use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::wasip3::http::types::Fields;
use spin_sdk::{http, pg, redis};
use std::cell::Cell;
use std::convert::Infallible;
use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long a request holds an instance.
const HOLD: Duration = Duration::from_millis(300);

thread_local! {
    static REQUESTS: Cell<u32> = const { Cell::new(0) };
}

/// Answers, or does something that no guest should do.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let address = request.headers().get("x-address");
    let address = address
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let path = request.uri().path().to_owned();
    let said = match path.rsplit('/').next().unwrap_or_default() {
        "trap" => std::process::abort(),
        "spin" => spin(),
        "hold" => hold(),
        "leak" => leak(),
        "sleep" => sleep().await,
        "short" => return lie("100", Said::text("abc")),
        "long" => return lie("1", Said::text("abc")),
        "stuck" => return lie("10", Said::silence()),
        "silent" => return Response::new(Said::silence()),
        "endless" => return Response::new(Said::Endless),
        "protocol" => return with_status(StatusCode::SWITCHING_PROTOCOLS),
        "fields" => fields(),
        "postgres" => outcome(pg::Connection::open(address).await),
        "redis" => outcome(redis::Connection::open(address).await),
        "http" => outcome(http::get(address).await.map(|answer| answer.status())),
        "variable" => outcome(spin_sdk::variables::get(address).await),
        // How old this instance is, in requests.
        _ => REQUESTS.with(|count| {
            count.set(count.get() + 1);
            count.get().to_string()
        }),
    };
    Response::new(Said::text(said))
}

/// The body of an answer.
pub enum Said {
    /// What is left of it.
    Text(Option<Bytes>),
    Endless,
    Silence(Pin<Box<dyn Future<Output = String>>>),
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
        let data = match &mut *self {
            Said::Text(text) => text.take(),
            Said::Endless => Some(Bytes::from_static(&[b'x'; 64 * 1024])),
            Said::Silence(sleep) => match sleep.as_mut().poll(cx) {
                Poll::Ready(text) => Some(text.into()),
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }
}

/// An answer whose body has not the length that it says.
fn lie(length: &'static str, body: Said) -> Response<Said> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static(length));
    response
}

fn with_status(status: StatusCode) -> Response<Said> {
    let mut response = Response::new(Said::text(""));
    *response.status_mut() = status;
    response
}

/// Which header fields it may answer with of those that it must not.
fn fields() -> String {
    let forbidden: [(&str, &[u8]); 9] = [
        ("x", b"a\r\nx-evil: 1"),
        ("x", b"a\nb"),
        ("x", b"a\0b"),
        ("x y", b"a"),
        ("x\r\ny", b"a"),
        ("", b"a"),
        ("content-length", b"+3"),
        ("transfer-encoding", b"chunked"),
        ("connection", b"close"),
    ];
    let fields = Fields::new();
    let taken = forbidden
        .iter()
        .filter(|(name, value)| fields.append(name, value).is_ok());
    taken.map(|(name, _)| format!("{name:?} ")).collect()
}

/// Waits longer than anybody should.
async fn sleep() -> String {
    spin_sdk::time::sleep(Duration::from_secs(3_600)).await;
    "at last".to_owned()
}

/// Computes for ever.
fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

/// Computes for a while, in which the instance can take no other request.
fn hold() -> String {
    let start = Instant::now();
    while start.elapsed() < HOLD {
        for number in 0..100_000_u64 {
            std::hint::black_box(number);
        }
    }
    "held".to_owned()
}

/// Takes memory until there is none.
fn leak() -> String {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; 1024 * 1024]);
        std::hint::black_box(&taken);
    }
}

fn outcome<T, E: Debug>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}
