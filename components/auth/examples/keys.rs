//! Draws a key of the access tokens and prints the two variables that hold it: what signs, for auth, and what verifies,
//! for every service. `cargo run --release -p auth --example keys -- ed25519`, or `hs256`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use service::keys::SigningKey;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut secret = [0; 32];
    if let Err(error) = getrandom::fill(&mut secret) {
        eprintln!("the system gives no random numbers: {error}");
        return ExitCode::FAILURE;
    }
    let text = match std::env::args().nth(1).as_deref() {
        Some("ed25519") => format!("ed25519:{}", STANDARD.encode(secret)),
        Some("hs256") => format!("hs256:{}", URL_SAFE_NO_PAD.encode(secret)),
        _ => {
            eprintln!("usage: keys ed25519|hs256");
            return ExitCode::FAILURE;
        }
    };
    match SigningKey::parse(&text) {
        Ok(key) => {
            println!("jwt_signing_key = \"{text}\"");
            println!("jwt_verification_keys = \"{}\"", key.verification());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
