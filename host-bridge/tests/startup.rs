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

const KEY: &str = "whsec_dGhlIGtleSBvZiB0aGVzZSB0ZXN0cyBhbG9uZQ==";

fn relay<'a>(topology: &'a str, metrics: &'a str, key: &'a str) -> Vec<&'a str> {
    let urls = [
        "--database-url",
        "postgres://nobody@127.0.0.1:1/none",
        "--amqp-url",
        "amqp://somebody:no-secret-of-anybody@127.0.0.1:1",
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
fn what_everybody_knows_is_told_in_one_line_and_taken_for_a_demonstration_alone() {
    let guest = "amqp://guest:guest@127.0.0.1:1";
    let database = "postgres://shop_bridge:bridge_pass@127.0.0.1:1/none";
    let known_key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let with = |flag: &str, value: &'static str| {
        let mut arguments = relay("nowhere.toml", "127.0.0.1:0", KEY);
        let position = arguments.iter().position(|argument| *argument == flag).unwrap() + 1;
        arguments[position] = value;
        let place = arguments
            .iter()
            .position(|argument| *argument == "nowhere.toml")
            .unwrap();
        arguments[place] = "topology.toml";
        arguments
    };
    for arguments in [
        with("--amqp-url", guest),
        with("--amqp-url", "amqp://127.0.0.1:1"),
        with("--database-url", database),
        with("--events-key", known_key),
    ] {
        one_line(&arguments, 1, "everybody knows");
        // A demonstration takes it, and stops at the port.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let mut demonstration: Vec<&str> = arguments.clone();
        let port = demonstration
            .iter()
            .position(|argument| *argument == "127.0.0.1:0")
            .unwrap();
        demonstration[port] = &address;
        demonstration.push("--demo");
        one_line(&demonstration, 1, &address);
    }
    let migrate = |password: &'static str, url: &'static str| {
        let places = ["--migrations", "../migrations", "--topology", "topology.toml"];
        let rest = ["--database-url", url, "--password", password];
        let arguments: Vec<&str> = ["migrate"].into_iter().chain(places).chain(rest).collect();
        arguments
    };
    let own = "postgres://admin@127.0.0.1:1/none";
    one_line(
        &migrate("auth=auth_pass", own),
        1,
        "the password of auth is one that everybody knows",
    );
    one_line(&migrate("auth=too-short", own), 1, "fewer than 16 characters");
    let known = "postgres://flower_shop:flower_shop_pass@127.0.0.1:1/none";
    one_line(
        &migrate("auth=nobody-will-guess-this", known),
        1,
        "everybody knows",
    );
    let serve = [
        "serve",
        "--manifest",
        "../spin.toml",
        "--metrics-listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0",
        "--variable",
        "jwt_signing_key=a-demo-key-of-more-than-thirty-two-bytes",
        "--variable",
        "jwt_verification_keys=x",
        "--variable",
        "events_key=x",
        "--variable",
        "auth_postgres_password=x",
        "--variable",
        "catalog_postgres_password=x",
        "--variable",
        "ordering_postgres_password=x",
        "--variable",
        "payment_postgres_password=x",
        "--variable",
        "payment_provider_postgres_password=x",
        "--variable",
        "delivery_postgres_password=x",
    ];
    one_line(
        &serve,
        1,
        "variable \"jwt_signing_key\" is a secret, and its value is one that everybody knows",
    );
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
