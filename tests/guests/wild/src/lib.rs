//! A guest that does, by the path it is asked for, what a host must survive or refuse. Addresses come in `x-address`;
//! the answer's body says what became of them.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::{http, pg, redis};
use std::cell::Cell;
use std::fmt::Debug;
use std::time::Duration;

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
        "leak" => leak(),
        "sleep" => sleep().await,
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
    let mut response = Response::new(Full::new(Bytes::from(said)));
    *response.status_mut() = StatusCode::OK;
    response
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
