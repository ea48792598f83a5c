//! Serves one connection with hyper, behind its gate, and ends it so that the client learns why.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::WasiBody;

use super::framing::Framing;
use super::gate::{Gate, Gated, Verdict};
use super::head::Bounds;
use crate::problem::Problem;

/// How long a client that was refused may go on sending: it reads no answer before it has sent all, and a connection
/// that is closed with unread bytes is reset, the answer with it.
const LINGER: Duration = Duration::from_secs(2);
/// How much is read of what it sends meanwhile.
const LINGER_BYTES: u64 = 1024 * 1024;

/// What a client may take its time for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the head of a request, from its first byte; for the first one, from the connection's begin.
    pub(crate) head: Duration,
    /// Between requests, and with the rest of an answer.
    pub(crate) idle: Duration,
}

/// The body of a request, which tells the gate if nobody reads it to its end.
pub(crate) struct RequestBody {
    body: Incoming,
    gate: Arc<Gate>,
    is_whole: bool,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.is_whole |= matches!(frame, Poll::Ready(None)) || self.body.is_end_stream();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_whole {
            self.gate.left_unread();
        }
    }
}

/// Serves the requests of a connection one after another, until the client or the drain ends it, it was idle for too
/// long, or its bytes were no request.
pub(crate) async fn serve<F>(
    stream: TcpStream,
    bounds: Bounds,
    patience: Patience,
    drain: &CancellationToken,
    answer: impl Fn(Request<RequestBody>) -> F,
) where
    F: Future<Output = Response<WasiBody>>,
{
    let gate = Arc::new(Gate::new());
    let service = service_fn(|request: Request<Incoming>| {
        let gate = Arc::clone(&gate);
        let answered = answer(request.map(|body| RequestBody {
            is_whole: body.is_end_stream(),
            body,
            gate: Arc::clone(&gate),
        }));
        async move {
            let mut response = answered.await;
            if gate.is_unread() {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            gate.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let gated = Gated::new(stream, Arc::clone(&gate), Framing::new(bounds));
    // The gate keeps the time.
    let mut connection = http1::Builder::new()
        .header_read_timeout(None::<Duration>)
        .serve_connection(TokioIo::new(gated), service);
    let mut drained = pin!(drain.cancelled());
    let mut alarm = pin!(tokio::time::sleep(patience.head.min(patience.idle)));
    let mut is_ending = false;
    let ended = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Some(ended));
            }
            let mut end = gate.refusal().is_some() || drained.as_mut().poll(cx).is_ready();
            while alarm.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                match gate.judge(now, &patience) {
                    Verdict::GoOn(until) => alarm.as_mut().reset(until),
                    Verdict::Idle => return Poll::Ready(None),
                    Verdict::Late => {
                        gate.refuse(Problem::HEAD_TIMEOUT);
                        alarm.as_mut().reset(now + patience.idle);
                        end = true;
                    }
                }
            }
            if !end || is_ending {
                return Poll::Pending;
            }
            // What is being answered is answered.
            is_ending = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
    })
    .await;
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection broke"),
        None => return,
    }
    let (mut stream, is_sending) = connection.into_parts().io.into_inner().into_parts();
    match gate.refusal() {
        Some(problem) => say(&mut stream, problem).await,
        None if is_sending || gate.is_unread() => linger(&mut stream).await,
        // The client sees the end when this is dropped.
        None => {}
    }
}

/// Ends a connection that is one too many.
pub(crate) async fn refuse(mut stream: TcpStream, problem: Problem) {
    say(&mut stream, problem).await;
}

/// Answers what was no request, or none that is served.
async fn say(stream: &mut TcpStream, problem: Problem) {
    tracing::debug!(?problem, "a connection was refused");
    metrics::counter!("embedded_host_refusals_total", "problem" => problem.slug()).increment(1);
    let answer = problem.into_bytes();
    // Who does not take it does not learn why.
    if let Ok(Ok(())) = tokio::time::timeout(LINGER, stream.write_all(&answer)).await {
        linger(stream).await;
    }
}

/// Says that nothing more will come, and reads on for a while (RFC 9112, section 9.6).
async fn linger(stream: &mut TcpStream) {
    let reading = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // However far it came.
    let _ = tokio::time::timeout(LINGER, reading).await;
}
