//! From ended spans to the collector: a queue that drops when it is full, and one task that sends what is in it.

use crate::otlp;
use crate::span::Record;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Spans that wait to be sent; what comes beyond them is lost.
const QUEUE: usize = 8192;
/// Spans of one request to the collector.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is said at the most that it does not take what it is sent.
const COMPLAINT: Duration = Duration::from_secs(60);
/// How much of a refusal is read.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Where spans go, and how many.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As in `OTEL_EXPORTER_OTLP_ENDPOINT`: `http://host:4318`; `/v1/traces` is added.
    pub endpoint: String,
    /// Of traces that begin here, which part is recorded: 0 to 1. Whoever was called within a trace follows its caller.
    pub ratio: f64,
}

/// The task that sends. Dropping it lets it go on.
#[derive(Debug)]
pub struct Exporter {
    ending: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Sends what was recorded so far, for at most `limit`.
    pub async fn drain(self, limit: Duration) {
        self.ending.cancel();
        if timeout(limit, self.task).await.is_err() {
            tracing::warn!("not all spans could be exported in time");
        }
    }
}

#[derive(Debug)]
struct Installed {
    ratio: f64,
    queue: mpsc::Sender<Record>,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Whether spans are recorded at all.
#[must_use]
pub fn is_on() -> bool {
    INSTALLED.get().is_some()
}

/// The part of new traces to record; `None` if none is.
pub(crate) fn ratio() -> Option<f64> {
    INSTALLED.get().map(|installed| installed.ratio)
}

pub(crate) fn submit(record: Record) {
    if let Some(installed) = INSTALLED.get()
        && installed.queue.try_send(record).is_err()
    {
        lost(1);
    }
}

fn lost(spans: usize) {
    metrics::counter!("spans_dropped_total").increment(spans as u64);
}

/// Has this process record spans from now on. Needs a tokio runtime; metrics are recorded by the recorder of this time.
///
/// # Errors
/// If the endpoint is no `http` address, the ratio no part, or it was called before.
pub fn install(settings: &Settings) -> Result<Exporter, String> {
    if !(0.0..=1.0).contains(&settings.ratio) {
        return Err("the ratio of traces to record lies between 0 and 1".to_owned());
    }
    let target = target(&settings.endpoint)?;
    let (queue, waiting) = mpsc::channel(QUEUE);
    let installed = Installed {
        ratio: settings.ratio,
        queue,
    };
    INSTALLED
        .set(installed)
        .map_err(|_| "spans are exported already".to_owned())?;
    metrics::counter!("spans_exported_total").increment(0);
    lost(0);
    let ending = CancellationToken::new();
    let task = tokio::spawn(Sender::new(target).run(waiting, ending.clone()));
    Ok(Exporter { ending, task })
}

/// Where traces are sent to.
fn target(endpoint: &str) -> Result<Uri, String> {
    let base = endpoint.trim_end_matches('/');
    let uri: Uri = format!("{base}/v1/traces")
        .parse()
        .map_err(|error| format!("the OTLP endpoint cannot be read: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if !authority.as_str().contains('@') => Ok(uri),
        _ => Err("the OTLP endpoint is not of the form http://host:4318".to_owned()),
    }
}

struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    target: Uri,
    /// When it was last said that something is wrong.
    complained: Option<Instant>,
}

impl Sender {
    fn new(target: Uri) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(PATIENCE));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self {
            client,
            target,
            complained: None,
        }
    }

    async fn run(mut self, mut waiting: mpsc::Receiver<Record>, ending: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                taken = waiting.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    gather(&mut waiting, &mut batch, &ending).await;
                }
                // What is in the queue still comes out of it; then `recv_many` gives nothing.
                () = ending.cancelled(), if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
            }
            self.send(&batch).await;
            batch.clear();
        }
    }

    async fn send(&mut self, batch: &[Record]) {
        match timeout(PATIENCE, self.post(otlp::encode(batch))).await {
            Ok(Ok(())) => metrics::counter!("spans_exported_total").increment(batch.len() as u64),
            Ok(Err(reason)) => self.complain(batch.len(), &reason),
            Err(_) => self.complain(batch.len(), "no answer in time"),
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), String> {
        let request = Request::post(self.target.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        })?;
        let status = answer.status();
        // Read to its end, so that the connection serves again.
        let read = Limited::new(answer.into_body(), MOST_ANSWER_BYTES)
            .collect()
            .await;
        match (status.is_success(), read) {
            (true, Ok(_)) => Ok(()),
            (true, Err(error)) => Err(format!("the answer broke off: {error}")),
            (false, _) => Err(format!("answered {}", status.as_u16())),
        }
    }

    fn complain(&mut self, spans: usize, reason: &str) {
        lost(spans);
        let now = Instant::now();
        if self.complained.is_none_or(|last| now >= last + COMPLAINT) {
            self.complained = Some(now);
            tracing::warn!(reason, "the collector takes no spans; they are dropped");
        }
    }
}

/// Waits a moment for more, so that a quiet shop does not send every span by itself.
async fn gather(waiting: &mut mpsc::Receiver<Record>, batch: &mut Vec<Record>, ending: &CancellationToken) {
    let until = Instant::now() + LINGER;
    while batch.len() < BATCH && !ending.is_cancelled() {
        let room = BATCH - batch.len();
        tokio::select! {
            more = timeout_at(until, waiting.recv_many(batch, room)) => {
                if !matches!(more, Ok(taken) if taken > 0) {
                    return;
                }
            }
            () = ending.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_http_address_is_taken() {
        assert_eq!(
            target("http://127.0.0.1:4318/").unwrap().to_string(),
            "http://127.0.0.1:4318/v1/traces"
        );
        for endpoint in [
            "",
            "collector:4318",
            "https://collector",
            "http://user:hush@collector",
        ] {
            let refusal = target(endpoint).unwrap_err();
            assert!(!refusal.contains("hush"), "{refusal}");
        }
    }
}
