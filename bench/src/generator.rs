//! The load generator: keep-alive connections, each of which sends the next request when it has the answer to the
//! last (a closed loop). It has one thread of its own, and so at most one core.

use crate::process;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many connections load a server.
pub(crate) const CONNECTIONS: usize = 16;

/// One request, again and again.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    request: Request<Full<Bytes>>,
    expected: StatusCode,
}

impl Target {
    /// GET, to be answered with 200.
    ///
    /// # Errors
    /// If `path` is none.
    pub(crate) fn get(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Self> {
        Self::new(address, Method::GET, path, token, Bytes::new(), StatusCode::OK)
    }

    /// POST of a JSON body, to be answered with 201.
    ///
    /// # Errors
    /// If `path` is none.
    pub(crate) fn post(
        address: SocketAddr,
        path: &str,
        token: &str,
        body: &serde_json::Value,
    ) -> Result<Self> {
        let body = body.to_string().into();
        Self::new(
            address,
            Method::POST,
            path,
            Some(token),
            body,
            StatusCode::CREATED,
        )
    }

    fn new(
        address: SocketAddr,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
        expected: StatusCode,
    ) -> Result<Self> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address.to_string());
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        Ok(Self {
            address,
            request: request.body(Full::new(body))?,
            expected,
        })
    }

    /// The same request to another server.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }
}

/// A keep-alive connection.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// If nobody listens.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its error comes out of the request that it fails.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// If there is none, or it has another status than expected.
    pub(crate) async fn send(&mut self, target: &Target) -> Result<Bytes> {
        self.0.ready().await?;
        let response = self.0.send_request(target.request.clone()).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != target.expected {
            let text = String::from_utf8_lossy(&body);
            bail!("{} answered {status}: {text}", target.request.uri());
        }
        Ok(body)
    }

    /// [`Self::send`], with the body read as JSON.
    ///
    /// # Errors
    /// As there, or if it is none.
    pub(crate) async fn send_json(&mut self, target: &Target) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.send(target).await?)?)
    }
}

/// What a run under load came to.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) elapsed: Duration,
    /// CPU time that the server's process used meanwhile.
    pub(crate) cpu: Duration,
}

impl Run {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time of the server for one request, in microseconds.
    pub(crate) fn cpu_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len().max(1) as f64
    }
}

/// Loads `target`, which the processes `servers` serve: unmeasured for `warm_up`, then measured for `duration`.
///
/// # Errors
/// If one request fails: a server that refuses under this load is not fast.
pub(crate) async fn load(
    target: Target,
    servers: Vec<u32>,
    warm_up: Duration,
    duration: Duration,
) -> Result<Run> {
    let generate = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(generate(target, &servers, warm_up, duration))
    };
    tokio::task::spawn_blocking(generate)
        .await
        .context("the load generator panicked")?
}

async fn generate(target: Target, servers: &[u32], warm_up: Duration, duration: Duration) -> Result<Run> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(target.address).await?);
    }
    let (connections, _) = closed_loop(connections, &target, warm_up).await?;
    let used = process::cpu_times(servers)?;
    let started = Instant::now();
    let (_, latencies) = closed_loop(connections, &target, duration).await?;
    let elapsed = started.elapsed();
    let cpu = process::cpu_times(servers)?.saturating_sub(used);
    ensure!(!latencies.is_empty(), "no answer within {duration:?}");
    Ok(Run {
        latencies,
        elapsed,
        cpu,
    })
}

/// Sends `rate` requests a second until `enough` is there, and gives how long after its time each was answered: one that had to
/// wait for the one before it on its connection began to wait when it was due.
///
/// # Errors
/// If one request fails.
pub(crate) async fn at_rate(
    target: Target,
    rate: f64,
    enough: impl Future<Output = Result<()>>,
) -> Result<Vec<Duration>> {
    let end: Arc<AtomicBool> = Arc::default();
    let mut clients = JoinSet::new();
    let period = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
    let begin = Instant::now();
    for number in 0..CONNECTIONS {
        let mut connection = Connection::open(target.address).await?;
        let (target, end) = (target.clone(), Arc::clone(&end));
        let mut due = begin + period.mul_f64(number as f64 / CONNECTIONS as f64);
        clients.spawn(async move {
            let mut latencies = Vec::new();
            while !end.load(Ordering::Relaxed) {
                tokio::time::sleep_until(due.into()).await;
                connection.send(&target).await?;
                latencies.push(due.elapsed());
                due += period;
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    enough.await?;
    end.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(ended) = clients.join_next().await {
        latencies.extend(ended.context("a client panicked")??);
    }
    Ok(latencies)
}

async fn closed_loop(
    connections: Vec<Connection>,
    target: &Target,
    duration: Duration,
) -> Result<(Vec<Connection>, Vec<Duration>)> {
    let end = Instant::now() + duration;
    let mut clients = JoinSet::new();
    for connection in connections {
        clients.spawn(client(connection, target.clone(), end));
    }
    let (mut kept, mut latencies) = (Vec::new(), Vec::new());
    while let Some(ended) = clients.join_next().await {
        let (connection, measured) = ended.context("a client panicked")??;
        kept.push(connection);
        latencies.extend(measured);
    }
    Ok((kept, latencies))
}

async fn client(
    mut connection: Connection,
    target: Target,
    end: Instant,
) -> Result<(Connection, Vec<Duration>)> {
    let mut latencies = Vec::new();
    let mut sent = Instant::now();
    while sent < end {
        connection.send(&target).await?;
        let answered = Instant::now();
        latencies.push(answered - sent);
        sent = answered;
    }
    Ok((connection, latencies))
}
