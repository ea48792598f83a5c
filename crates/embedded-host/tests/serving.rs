//! What the host answers and does by itself, without any guest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::net::SocketAddr;
use std::time::Duration;

use embedded_host::{Config, Host, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A host with no components at all.
async fn host() -> Host {
    host_with(Limits::default()).await
}

async fn host_with(limits: Limits) -> Host {
    let path = std::env::temp_dir().join(format!("embedded-host-{}.toml", uuid::Uuid::now_v7()));
    std::fs::write(
        &path,
        "spin_manifest_version = 2\n[application]\nname = \"test\"\n[trigger]\n",
    )
    .unwrap();
    let mut config = Config::new(&path, "127.0.0.1:0".parse().unwrap());
    config.limits = limits;
    let host = Host::start(config).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    host
}

/// Sends the request and reads until the server closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_path_without_a_route_is_answered_with_problem_details() {
    let host = host().await;
    assert_ne!(host.address().port(), 0);
    let request =
        "GET /nowhere?x=1 HTTP/1.1\r\nhost: shop.test\r\nx-request-id: my-id\r\nconnection: close\r\n\r\n";
    let answer = exchange(host.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("content-type: application/problem+json"),
        "{answer}"
    );
    assert!(head.contains("x-request-id: my-id"), "{answer}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["type"], "/problems/no-route");
    assert_eq!(body["instance"], "/nowhere");
}

#[tokio::test]
async fn the_host_tells_nobody_of_the_application_at_spins_own_paths() {
    let host = host().await;
    for path in ["health", "info"] {
        let request =
            format!("GET /.well-known/spin/{path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        let answer = exchange(host.address(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}

#[tokio::test]
async fn the_answer_to_head_has_no_body() {
    let host = host().await;
    let answer = exchange(
        host.address(),
        "HEAD / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_problem_details() {
    let host = host().await;
    let answer = exchange(host.address(), "GET / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("\"/problems/malformed\""), "{answer}");
}

#[tokio::test]
async fn the_host_itself_answers_options_of_everything() {
    let host = host().await;
    let request = "OPTIONS * HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let answer = exchange(host.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
}

#[tokio::test]
async fn a_connection_too_many_is_told_to_come_again_and_room_is_made_for_it() {
    for limits in [
        Limits {
            max_connections: 1,
            ..Limits::default()
        },
        Limits {
            max_connections_per_address: 1,
            ..Limits::default()
        },
    ] {
        let host = host_with(limits).await;
        let mut first = TcpStream::connect(host.address()).await.unwrap();
        let request = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
        first.write_all(request.as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        first.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 404");

        let answer = exchange(host.address(), request).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("\"/problems/too-many-connections\""), "{answer}");

        drop(first);
        let again = "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        // The host learns of the end a moment later.
        let room = async {
            while !exchange(host.address(), again).await.starts_with("HTTP/1.1 404 ") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), room)
            .await
            .expect("there is room again");
    }
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_takes_no_new_ones() {
    let host = host().await;
    let address = host.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    let mut begin = [0; 12];
    idle.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 404");

    host.drain(Duration::from_secs(30)).await;

    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_drain_ends_after_its_limit_whatever_clients_do() {
    let host = host().await;
    // A request whose head never ends.
    let mut stuck = TcpStream::connect(host.address()).await.unwrap();
    stuck.write_all(b"GET / HTTP/1.1\r\nhos").await.unwrap();
    host.drain(Duration::from_millis(50)).await;
    let mut rest = Vec::new();
    // Closed, be it with or without a reset.
    let _ = stuck.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_dropped_host_listens_no_more() {
    let host = host().await;
    let address = host.address();
    let mut connection = TcpStream::connect(address).await.unwrap();
    drop(host);
    let mut rest = Vec::new();
    let _ = connection.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
