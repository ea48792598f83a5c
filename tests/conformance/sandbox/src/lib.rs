//! What a component finds of the world where nothing is granted.

use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::wasip3::random::random::get_random_u64;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

/// A day in 2026, in seconds since 1970: no clock that is right shows an earlier one.
const EARLIEST: u64 = 1_767_225_600;

/// By the path, what is to be looked at.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    match request.uri().path() {
        "/environment" => format!("{} variables", std::env::vars().count()),
        "/arguments" => format!("{} arguments", std::env::args().count()),
        "/files" => match std::fs::read_dir("/") {
            Ok(entries) => format!("{} files", entries.count()),
            Err(_) => "no files".to_owned(),
        },
        "/socket" => match TcpStream::connect(("127.0.0.1", port().await)) {
            Ok(_) => "connected".to_owned(),
            Err(_) => "refused".to_owned(),
        },
        "/clock" => match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(now) if now.as_secs() > EARLIEST => "after 2025".to_owned(),
            now => format!("{now:?}"),
        },
        "/time" => {
            let start = Instant::now();
            spin_sdk::time::sleep(Duration::from_millis(20)).await;
            match start.elapsed() {
                elapsed if elapsed >= Duration::from_millis(20) => "passes".to_owned(),
                elapsed => format!("{elapsed:?}"),
            }
        }
        "/random" => match (get_random_u64(), get_random_u64()) {
            (one, other) if one == other => format!("twice {one}"),
            _ => "random".to_owned(),
        },
        "/output" => {
            let out = std::io::stdout().write_all(b"to standard output\n");
            let err = std::io::stderr().write_all(b"to standard error\n");
            format!("{} {}", out.is_ok(), err.is_ok())
        }
        "/input" => format!("{:?}", std::io::stdin().read(&mut [0; 8]).ok()),
        _ => "nothing".to_owned(),
    }
}

/// Where somebody listens.
async fn port() -> u16 {
    let port = spin_sdk::variables::get("port").await.unwrap_or_default();
    port.parse().unwrap_or_default()
}
