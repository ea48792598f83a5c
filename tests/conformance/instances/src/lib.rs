//! What an instance remembers: how many requests it has had, and how many it has at once.

use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use std::cell::Cell;
use std::time::Duration;

/// How long a request stays. It awaits nothing: that nobody comes who may not is what is asked.
const STAY: Duration = Duration::from_secs(1);
/// How many one instance may have at once.
const LIMIT: u32 = 16;

thread_local! {
    static REQUESTS: Cell<u32> = const { Cell::new(0) };
    static PRESENT: Cell<u32> = const { Cell::new(0) };
    static MOST: Cell<u32> = const { Cell::new(0) };
}

/// `/age`, `/meet`, `/crowd` or `/trap`.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let age = REQUESTS.get() + 1;
    REQUESTS.set(age);
    match request.uri().path() {
        "/meet" => match stay().await {
            1 => "alone".to_owned(),
            _ => "met".to_owned(),
        },
        "/crowd" => match stay().await {
            ..=LIMIT => format!("at most {LIMIT}"),
            most => most.to_string(),
        },
        "/trap" => std::process::abort(),
        _ => age.to_string(),
    }
}

/// How many have been here at once, as long as this instance lives.
async fn stay() -> u32 {
    PRESENT.set(PRESENT.get() + 1);
    MOST.set(MOST.get().max(PRESENT.get()));
    spin_sdk::time::sleep(STAY).await;
    PRESENT.set(PRESENT.get() - 1);
    MOST.get()
}
