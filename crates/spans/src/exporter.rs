//! From ended spans to the collector: a queue that drops when it is full, and one task that sends what is in it.

use crate::otlp;
use crate::span::Record;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
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
/// How long a collector that is busy is left alone if it does not say so itself, and at the most.
const PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const MOST_ANSWER_BYTES: usize = 64 * 1024;
/// How much of what the collector says is logged, in letters.
const MOST_REASON: usize = 200;

/// Where spans go, and how many.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As in `OTEL_EXPORTER_OTLP_ENDPOINT`: `http://host:4318`; `/v1/traces` is added.
    pub endpoint: String,
    /// The application that all services of this process belong to (`service.namespace`).
    pub namespace: String,
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
    let sender = Sender::new(target, settings.namespace.clone());
    let task = tokio::spawn(sender.run(waiting, ending.clone()));
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

/// What the collector left out of a batch that it took.
#[derive(Debug, PartialEq, Eq)]
struct Rejected {
    spans: usize,
    reason: String,
}

/// Why a batch was not taken.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    reason: String,
    /// When to try again, if that may help.
    again_after: Option<Duration>,
}

impl Refusal {
    fn for_good(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            again_after: None,
        }
    }
}

struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    target: Uri,
    namespace: String,
    /// When it was last said that something is wrong.
    complained: Option<Instant>,
}

impl Sender {
    fn new(target: Uri, namespace: String) -> Self {
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
            namespace,
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
        let lost = match self.deliver(otlp::encode(&self.namespace, batch).into()).await {
            Ok(None) => 0,
            Ok(Some(rejected)) => {
                let spans = rejected.spans.min(batch.len());
                self.complain(spans, &format!("rejects {spans} of them: {}", rejected.reason));
                spans
            }
            Err(refusal) => {
                self.complain(batch.len(), &refusal.reason);
                batch.len()
            }
        };
        metrics::counter!("spans_exported_total").increment((batch.len() - lost) as u64);
    }

    /// Sends a batch, and once more if the collector is busy. Tells what it left out.
    async fn deliver(&self, body: Bytes) -> Result<Option<Rejected>, Refusal> {
        let answer = self.post(body.clone()).await;
        let Err(Refusal {
            again_after: Some(pause),
            ..
        }) = answer
        else {
            return answer;
        };
        sleep(pause).await;
        self.post(body).await
    }

    async fn post(&self, body: Bytes) -> Result<Option<Rejected>, Refusal> {
        let asked = timeout(PATIENCE, self.ask(body)).await;
        asked.unwrap_or_else(|_| Err(Refusal::for_good("no answer in time")))
    }

    async fn ask(&self, body: Bytes) -> Result<Option<Rejected>, Refusal> {
        let request = Request::post(self.target.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Refusal::for_good(error.to_string()))?;
        let answer = self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Refusal::for_good(cause.unwrap_or_else(|| error.to_string()))
        })?;
        let status = answer.status();
        let again_after = again_after(status, answer.headers());
        // Read to its end, so that the connection serves again.
        let read = Limited::new(answer.into_body(), MOST_ANSWER_BYTES)
            .collect()
            .await;
        match (status.is_success(), read) {
            (true, Ok(body)) => Ok(rejected(&body.to_bytes())),
            (true, Err(error)) => Err(Refusal::for_good(format!("the answer broke off: {error}"))),
            (false, _) => Err(Refusal {
                reason: format!("answered {}", status.as_u16()),
                again_after,
            }),
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

/// When to try again, by the head of an answer: OTLP names the statuses that pass.
fn again_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status.as_u16(), 429 | 502 | 503 | 504) {
        return None;
    }
    let said = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = said.and_then(|said| said.parse().ok());
    Some(seconds.map_or(PAUSE, Duration::from_secs).min(MOST_PAUSE))
}

/// What the collector left out, by the body with which it took the others. A body of another kind says nothing of it.
fn rejected(answer: &[u8]) -> Option<Rejected> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let partial = &answer["partialSuccess"];
    let spans = match &partial["rejectedSpans"] {
        Value::String(digits) => digits.parse().ok()?,
        number => usize::try_from(number.as_u64()?).ok()?,
    };
    let said = partial["errorMessage"].as_str().unwrap_or("no reason is given");
    (spans > 0).then(|| Rejected {
        spans,
        reason: said.chars().take(MOST_REASON).collect(),
    })
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
    use hyper::header::HeaderValue;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

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

    #[test]
    fn only_a_busy_collector_is_asked_again_after_the_time_that_it_says() {
        let after = |status, said: &[&'static str]| {
            let said = said
                .iter()
                .map(|said| (RETRY_AFTER, HeaderValue::from_static(said)));
            again_after(StatusCode::from_u16(status).unwrap(), &said.collect())
        };
        for status in [429, 502, 503, 504] {
            assert_eq!(after(status, &[]), Some(PAUSE), "{status}");
        }
        assert_eq!(after(429, &["3"]), Some(Duration::from_secs(3)));
        assert_eq!(after(503, &["3600"]), Some(MOST_PAUSE));
        assert_eq!(after(503, &["Fri, 31 Jan 2031 12:00:00 GMT"]), Some(PAUSE));
        for status in [200, 400, 401, 500] {
            assert_eq!(after(status, &["1"]), None, "{status}");
        }
    }

    #[test]
    fn what_was_left_out_of_a_batch_is_read_from_the_answer() {
        let left_out = |answer: &str| rejected(answer.as_bytes()).map(|rejected| rejected.spans);
        assert_eq!(
            left_out(r#"{"partialSuccess": {"rejectedSpans": "7", "errorMessage": "late"}}"#),
            Some(7)
        );
        assert_eq!(left_out(r#"{"partialSuccess": {"rejectedSpans": 7}}"#), Some(7));
        for all_taken in [
            "",
            "{}",
            "[]",
            "ok",
            r#"{"partialSuccess": {}}"#,
            r#"{"partialSuccess": {"rejectedSpans": "0", "errorMessage": "slow down"}}"#,
            r#"{"partialSuccess": {"rejectedSpans": -1}}"#,
        ] {
            assert_eq!(left_out(all_taken), None, "{all_taken}");
        }
    }

    /// A collector that gives these answers, one a connection, and a sender for it.
    async fn sender_to(answers: &'static [&'static str]) -> (Sender, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"{}") {
                    client.read_buf(&mut request).await.unwrap();
                }
                counted.fetch_add(1, Ordering::SeqCst);
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (Sender::new(target, "shop".to_owned()), asked)
    }

    #[tokio::test]
    async fn a_batch_is_sent_once_more_and_no_more() {
        const BUSY: &str = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\nconnection: close\r\n\r\n";
        const SOME: &str =
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"partialSuccess\": {\"rejectedSpans\": \"2\"}}";
        let (sender, asked) = sender_to(&[BUSY, SOME]).await;
        let left_out = sender.deliver(Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(left_out.unwrap().spans, 2);
        assert_eq!(asked.load(Ordering::SeqCst), 2);

        let (sender, asked) = sender_to(&[BUSY, BUSY, SOME]).await;
        let refusal = sender.deliver(Bytes::from_static(b"{}")).await.unwrap_err();
        assert_eq!(refusal.reason, "answered 503");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
