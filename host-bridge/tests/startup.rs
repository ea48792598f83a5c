//! How the process starts and ends: what is wrong is told in one line, and a signal is all it takes to end it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

/// Runs it to its end. Returns its exit code and what it wrote to stderr.
fn run(arguments: &[&str]) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_host-bridge"))
        .args(arguments)
        .env_clear()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code().unwrap(), text)
}

fn one_line(arguments: &[&str], code: i32, expected: &str) {
    let (exit, text) = run(arguments);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("host-bridge: ") && text.contains(expected),
        "{text}"
    );
    assert_eq!(exit, code, "{text}");
}

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn relay<'a>(topology: &'a str, metrics: &'a str, key: &'a str) -> Vec<&'a str> {
    let urls = [
        "--database-url",
        "postgres://nobody@127.0.0.1:1/none",
        "--amqp-url",
        "amqp://127.0.0.1:1",
    ];
    let rest = [
        "--topology",
        topology,
        "--metrics-listen",
        metrics,
        "--events-key",
        key,
    ];
    ["relay"].into_iter().chain(urls).chain(rest).collect()
}

#[test]
fn a_missing_secret_and_wrong_usage_are_told_in_one_line() {
    one_line(
        &["relay", "--database-url", "x", "--amqp-url", "y"],
        2,
        "--events-key",
    );
    one_line(&["up"], 2, "--database-url");
    one_line(&["fly"], 2, "fly");
}

#[test]
fn a_broken_topology_key_or_crash_point_is_told_in_one_line() {
    one_line(&relay("nowhere.toml", "127.0.0.1:0", KEY), 1, "nowhere.toml");
    one_line(&relay("Cargo.toml", "127.0.0.1:0", KEY), 1, "Cargo.toml: line 1");
    one_line(&relay("topology.toml", "127.0.0.1:0", "secret"), 1, "events key");
    let mut arguments = relay("topology.toml", "127.0.0.1:0", KEY);
    arguments.extend(["--crash-at", "nowhere"]);
    one_line(&arguments, 1, "crash-at");
}

#[test]
fn a_taken_port_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    one_line(&relay("topology.toml", &address, KEY), 1, &address);
}

#[test]
fn an_unreachable_database_ends_a_migration_in_one_line_without_its_password() {
    let url = "postgres://admin:hunter2@127.0.0.1:1/none";
    let arguments = [
        "migrate",
        "--database-url",
        url,
        "--migrations",
        "../migrations",
        "--topology",
        "topology.toml",
    ];
    let (code, text) = run(&arguments);
    assert_eq!(code, 1);
    assert!(
        text.lines().count() == 1 && !text.contains("hunter2") && text.contains("Postgres"),
        "{text}"
    );
}
