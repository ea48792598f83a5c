//! Bytes sent to a socket, and what comes back: what RFC 9110 and 9112 ask for, and what they leave to a server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;

use super::connection::RequestBody;
use super::{Bounds, Patience, serve};
use crate::problem::full;

/// How long a test waits for what must come.
const LONG: Duration = Duration::from_secs(20);
/// A request that must never be seen by anybody.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";

/// Says what was asked of it.
#[derive(Clone, Default)]
struct Echo {
    seen: Arc<Mutex<Vec<String>>>,
    /// What `/wait` waits for.
    go: Arc<Notify>,
}

impl Echo {
    async fn answer(&self, request: Request<RequestBody>) -> Response<WasiBody> {
        let (parts, body) = request.into_parts();
        let asked = format!("{} {}", parts.method, parts.uri);
        self.seen.lock().unwrap().push(asked.clone());
        match parts.uri.path() {
            "/unread" => return Response::new(full("unread".into())),
            "/large" => return Response::new(full(vec![b'x'; 64 * 1024 * 1024].into())),
            "/wait" => self.go.notified().await,
            _ => {}
        }
        match body.collect().await {
            Ok(body) => {
                let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
                Response::new(full(format!("{asked} {body:?}").into()))
            }
            Err(_) => {
                let mut response = Response::new(full(Bytes::from("broken")));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }
        }
    }
}

struct Server {
    address: SocketAddr,
    echo: Echo,
    drain: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    /// As patient as a server is.
    async fn start() -> Server {
        Server::with(LONG, LONG).await
    }

    async fn with(head: Duration, idle: Duration) -> Server {
        let bounds = Bounds {
            line_bytes: 1000,
            head_bytes: 4000,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            echo: Echo::default(),
            drain: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        let (echo, drain) = (server.echo.clone(), server.drain.clone());
        let connections = server.connections.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (echo, drain) = (echo.clone(), drain.clone());
                connections.spawn(async move {
                    let answer = |request| echo.answer(request);
                    serve(stream, bounds, Patience { head, idle }, &drain, answer).await;
                });
            }
        });
        server
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends the bytes and reads until the server closes.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }

    fn seen(&self) -> Vec<String> {
        self.echo.seen.lock().unwrap().clone()
    }

    /// Waits until no connection is served any more.
    async fn await_end(&self) {
        self.connections.close();
        tokio::time::timeout(LONG, self.connections.wait())
            .await
            .expect("a connection is still served");
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until what was read ends so.
    async fn until(&mut self, end: &str) -> String {
        let reading = async {
            let mut read = Vec::new();
            while !read.ends_with(end.as_bytes()) {
                read.push(self.0.read_u8().await.unwrap_or_else(|_| {
                    panic!("closed after {:?}", String::from_utf8_lossy(&read));
                }));
            }
            String::from_utf8(read).unwrap()
        };
        tokio::time::timeout(LONG, reading).await.expect(end)
    }

    /// Reads until the server closes.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        tokio::time::timeout(LONG, self.0.read_to_end(&mut rest))
            .await
            .expect("the server does not close")
            .unwrap();
        String::from_utf8(rest).unwrap()
    }
}

/// One answer, a problem, after which the connection ends.
fn expect_problem(case: &str, answer: &str, status: u16) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{case:?}: {answer}"
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nconnection: close"), "{case:?}: {answer}");
    let length = format!("\r\ncontent-length: {}\r\n", body.len());
    assert!(head.contains(&length), "{case:?}: {answer}");
    assert!(
        head.contains("\r\ncontent-type: application/problem+json"),
        "{case:?}: {answer}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], status, "{case:?}");
}

#[tokio::test]
async fn a_request_that_two_servers_could_read_in_two_ways_is_refused_and_so_is_what_follows_it() {
    let server = Server::start().await;
    for (status, fields) in [
        (400, "content-length: 3\r\ncontent-length: 4"),
        (400, "content-length: 3\r\ncontent-length: 3"),
        (400, "content-length: 3, 3"),
        (400, "content-length: +3"),
        (400, "content-length: -3"),
        (400, "content-length: 0x3"),
        (400, "content-length: 3 3"),
        (400, "content-length:"),
        (400, "content-length: 99999999999999999999"),
        (400, "content-length : 3"),
        (400, "content-length\t: 3"),
        (400, "content-length: 3\r\ntransfer-encoding: chunked"),
        (400, "transfer-encoding: chunked\r\ncontent-length: 3"),
        (400, "transfer-encoding: xchunked"),
        (400, "transfer-encoding: chunked, identity"),
        (400, "transfer-encoding: identity"),
        (400, "transfer-encoding: identity, chunked"),
        (400, "transfer-encoding: chunked, chunked"),
        (400, "transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
        (400, "transfer-encoding: chunked\r\ntransfer-encoding: identity"),
        (400, "transfer-encoding: \"chunked\""),
        (400, "transfer-encoding: ,chunked"),
        (400, "transfer-encoding:\u{b}chunked"),
        (400, "transfer-encoding:"),
        (400, "transfer-encoding : chunked"),
        (400, "transfer-encoding:\r\n chunked"),
        (501, "transfer-encoding: gzip, chunked"),
        (400, "x: a\r\n folded"),
        (400, " x: a"),
        (400, "x: a\nb: c"),
        (400, "x: a\n"),
        (400, "x: a\rb: c"),
        (400, "x: a\0b"),
        (400, "x\0: a"),
        (400, "x y: a"),
        (400, ": a"),
        (400, "no colon"),
        (400, "host: h"),
        (417, "expect: 200-ok"),
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: h\r\n{fields}\r\n\r\n");
        let answer = server.exchange(format!("{request}{SMUGGLED}")).await;
        expect_problem(fields, &answer, status);
    }
    assert!(server.seen().is_empty(), "{:?}", server.seen());
}

#[tokio::test]
async fn a_request_line_that_is_none_is_refused() {
    let server = Server::start().await;
    for (status, line) in [
        (400, "GET"),
        (400, "GET /"),
        (400, "GET  / HTTP/1.1"),
        (400, "GET / HTTP/1.1 "),
        (400, "GET\t/ HTTP/1.1"),
        (400, "G@T / HTTP/1.1"),
        (400, "/ HTTP/1.1"),
        (400, "GET a HTTP/1.1"),
        (400, "GET h:80 HTTP/1.1"),
        (400, "GET * HTTP/1.1"),
        (400, "GET /a#b HTTP/1.1"),
        (400, "GET /\u{e9} HTTP/1.1"),
        (400, "GET /\0 HTTP/1.1"),
        (400, "GET http://other/ HTTP/1.1"),
        (400, "GET http://me@h/ HTTP/1.1"),
        (400, "GET https://h/ HTTP/1.1"),
        (400, "GET ftp://h/ HTTP/1.1"),
        (400, "GET http:/// HTTP/1.1"),
        (501, "CONNECT h:80 HTTP/1.1"),
        (501, "CONNECT / HTTP/1.1"),
        // What stands after the one space is no version.
        (505, "GET /  HTTP/1.1"),
        (505, "GET / HTTP/1.2"),
        (505, "GET / HTTP/2.0"),
        (505, "GET / http/1.1"),
        (505, "PRI * HTTP/2.0"),
    ] {
        let answer = server
            .exchange(format!("{line}\r\nhost: h\r\n\r\n{SMUGGLED}"))
            .await;
        expect_problem(line, &answer, status);
    }
    assert!(server.seen().is_empty(), "{:?}", server.seen());
}

#[tokio::test]
async fn a_request_without_one_host_is_refused() {
    let server = Server::start().await;
    for fields in [
        "",
        "host:\r\n",
        "host: a b\r\n",
        "host: me@h\r\n",
        "host: h/\r\n",
        "host: h\r\nHost: h\r\n",
    ] {
        for target in ["/", "http://h/"] {
            let answer = server
                .exchange(format!("GET {target} HTTP/1.1\r\n{fields}\r\n"))
                .await;
            expect_problem(fields, &answer, 400);
        }
    }
}

#[tokio::test]
async fn a_head_may_be_so_large_and_no_larger() {
    let server = Server::start().await;
    let with = |path: &str, fields: &str| {
        format!("GET /{path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{fields}\r\n")
    };
    for (status, request) in [
        (200, with(&"a".repeat(900), "")),
        (414, with(&"a".repeat(1000), "")),
        // Its line never ends.
        (414, format!("GET /{}", "a".repeat(1100))),
        (200, with("", &format!("x: {}\r\n", "a".repeat(3000)))),
        (431, with("", &format!("x: {}\r\n", "a".repeat(4000)))),
        // Its head never ends.
        (431, format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(4100))),
        (200, with("", &"a: b\r\n".repeat(98))),
        (431, with("", &"a: b\r\n".repeat(99))),
    ] {
        let answer = server.exchange(&request).await;
        if status == 200 {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        } else {
            expect_problem(&request, &answer, status);
        }
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let server = Server::start().await;
    let answer = server
        .exchange(
            "\r\nPOST /1 HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc\
             POST /2 HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\ndef\r\n0\r\nx-sum: 1\r\n\r\n\
             GET http://h/3 HTTP/1.1\r\nhost: h\r\n\r\n\
             OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n\
             GET /5 HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\
             GET /6 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
        )
        .await;
    let bodies: Vec<&str> = answer
        .split("HTTP/1.1 200 OK\r\n")
        .skip(1)
        .map(|answer| answer.split_once("\r\n\r\n").unwrap().1)
        .collect();
    assert_eq!(
        bodies,
        [
            "POST /1 \"abc\"",
            "POST /2 \"def\"",
            "GET http://h/3 \"\"",
            "OPTIONS * \"\"",
            "GET /5 \"\"",
            "GET /6 \"\"",
        ]
    );
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_answered() {
    let server = Server::start().await;
    let answer = server
        .exchange("GET /1 HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        .await;
    let (first, second) = answer.split_at(answer.rfind("HTTP/1.1 ").unwrap());
    assert!(
        first.starts_with("HTTP/1.1 200 OK\r\n") && first.ends_with("GET /1 \"\""),
        "{answer}"
    );
    expect_problem("/2", second, 400);
    assert_eq!(server.seen(), ["GET /1"]);
}

#[tokio::test]
async fn http_1_0_keeps_its_connection_only_if_it_asks_for_that() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client
        .send("GET /1 HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n")
        .await;
    let first = client.until("GET /1 \"\"").await;
    assert!(first.contains("\r\nconnection: keep-alive\r\n"), "{first}");
    // It has no 100 Continue, and needs no host.
    client
        .send("POST /2 HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    let second = client.rest().await;
    assert!(second.starts_with("HTTP/1.0 200 OK\r\n"), "{second}");
    assert!(second.ends_with("POST /2 \"hi\""), "{second}");

    let answer = server
        .exchange("POST / HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    expect_problem("1.0", &answer, 400);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client
        .send("POST /1 HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc").await;
    client.until("POST /1 \"abc\"").await;
}

#[tokio::test]
async fn a_chunked_body_that_is_none_breaks_off_and_nothing_follows() {
    let server = Server::start().await;
    for body in [
        "x\r\n",
        "-1\r\na\r\n",
        "1 \r\na\r\n",
        "1\na\n",
        "1\r\nab\r\n",
        "1\r\na\n0\r\n\r\n",
        "ffffffffffffffff\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let answer = server.exchange(format!("{request}{SMUGGLED}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{body:?}: {answer}");
    }
    assert!(!server.seen().contains(&"GET /smuggled".to_owned()));
}

#[tokio::test]
async fn nothing_follows_a_body_that_nobody_read() {
    let server = Server::start().await;
    for (fields, body) in [
        ("content-length: 1000000", SMUGGLED.to_owned()),
        ("content-length: 1000000", SMUGGLED.repeat(27_000)),
        ("transfer-encoding: chunked", format!("f4240\r\n{SMUGGLED}")),
        (
            "expect: 100-continue\r\ncontent-length: 1000000",
            SMUGGLED.to_owned(),
        ),
    ] {
        let answer = server
            .exchange(format!(
                "POST /unread HTTP/1.1\r\nhost: h\r\n{fields}\r\n\r\n{body}"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{fields}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{fields}: {answer}");
        assert!(answer.ends_with("\r\n\r\nunread"), "{fields}: {answer}");
    }
    assert_eq!(server.seen(), ["POST /unread"; 4]);
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_408() {
    let server = Server::with(Duration::from_millis(300), LONG).await;
    let (reading, mut writing) = server.connect().await.0.into_split();
    // A byte now and then does not help.
    let drops = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let head = b"GET / HTTP/1.1\r\nhost: h\r\nx: ".iter();
        for byte in head.chain(std::iter::repeat(&b'a')) {
            pace.tick().await;
            // Once it has been refused, it is closed.
            if writing.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    });
    let mut answer = String::new();
    let mut reading = tokio::io::BufReader::new(reading);
    tokio::time::timeout(LONG, reading.read_to_string(&mut answer))
        .await
        .expect("it is refused")
        .unwrap();
    drops.abort();
    expect_problem("slow", &answer, 408);
    // The one after an answer has the same time.
    let mut client = server.connect().await;
    client.send("GET /1 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    client.until("GET /1 \"\"").await;
    client.send("GET /2").await;
    expect_problem("second", &client.rest().await, 408);
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_closed() {
    let server = Server::with(Duration::from_millis(100), Duration::from_millis(100)).await;
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "");

    let mut idle = server.connect().await;
    idle.send("GET /1 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    idle.until("GET /1 \"\"").await;
    assert_eq!(idle.rest().await, "");

    // It asks for more than fits between us, and takes nothing of it.
    let mut greedy = server.connect().await;
    greedy
        .send("GET /large HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\n")
        .await;
    server.await_end().await;
}

#[tokio::test]
async fn a_request_may_be_worked_on_for_longer_than_a_connection_may_be_idle() {
    let server = Server::with(Duration::from_millis(300), Duration::from_millis(300)).await;
    let mut client = server.connect().await;
    client
        .send("POST /wait HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n")
        .await;
    let late = tokio::time::timeout(Duration::from_millis(900), client.0.read_u8()).await;
    assert!(late.is_err(), "it is worked on");
    server.echo.go.notify_one();
    client.send("hi").await;
    client.until("POST /wait \"hi\"").await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_being_answered_and_nothing_else() {
    let server = Server::start().await;
    let mut idle = server.connect().await;
    idle.send("GET /1 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    idle.until("GET /1 \"\"").await;
    let mut busy = server.connect().await;
    busy.send("POST /busy HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    // It is being worked on.
    busy.until("\r\n\r\n").await;
    busy.send("h").await;
    let mut half = server.connect().await;
    half.send("GET /half HTTP/1.1\r\n").await;

    server.drain.cancel();
    assert_eq!(idle.rest().await, "");
    half.rest().await;
    busy.send(format!("i{SMUGGLED}")).await;
    let answer = busy.rest().await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("POST /busy \"hi\""), "{answer}");
    server.await_end().await;
    assert_eq!(server.seen(), ["GET /1", "POST /busy"]);
}
