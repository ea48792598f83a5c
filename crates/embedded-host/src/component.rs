//! A component that answers requests: reads the body, prepares what Spin would hand on, has an instance work on
//! it, and turns whatever goes wrong into problem details.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crash_points::{Point, reached};
use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use spans::Span;
use tokio::time::Instant;
use wasmtime_wasi_http::WasiBody;

use crate::bodies::{Bodies, NoRoom, Room};
use crate::config::{Canary, Config, Limits, OnWrite};
use crate::headers::{self, RouteHeaders};
use crate::identity::Digest;
use crate::life;
use crate::meters::Meters;
use crate::pool::{Class, Pool, Refusal};
use crate::problem::{Origin, Problem, full};
use crate::trace::{self, ClientTraces};
use crate::version::{Stance, Version, Versions};

/// A longer answer is streamed, a shorter one sent in one piece: head and body leave in one write.
const MAX_WHOLE_ANSWER_BYTES: u64 = 1024 * 1024;
/// What is read of a body that is too large before it is refused: a client that still sends reads no answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a new version may take over its first answer, at most.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a request came to a component.
pub(crate) struct Visit<'a> {
    pub(crate) route: &'a RouteHeaders,
    /// What the route's wildcard stands for.
    pub(crate) path_info: &'a str,
    /// The client's address.
    pub(crate) client: &'a HeaderValue,
}

/// A component of the manifest, loaded.
pub(crate) struct Component {
    name: Arc<str>,
    versions: Versions,
    limits: Limits,
    /// Paths that have room of their own.
    reserved_paths: Vec<String>,
    /// Where it is asked how it is; so it is below that.
    probe_path: String,
    bodies: Bodies,
    client_traces: ClientTraces,
    meters: Arc<Meters>,
    on_write: Option<OnWrite>,
}

impl Component {
    pub(crate) fn new(name: &str, version: Version, config: &Config, meters: Arc<Meters>) -> Component {
        Component {
            versions: Versions::new(name, version),
            limits: config.limits.clone(),
            reserved_paths: config.reserved_paths_of(name),
            probe_path: config.probe_path.clone(),
            bodies: Bodies::new(config.limits.max_bodies_bytes),
            client_traces: ClientTraces::new(config.client_traces_per_second),
            meters,
            on_write: config.on_write.clone(),
            name: name.into(),
        }
    }

    /// Has `next` serve from now on, or be tried first, if it is well.
    ///
    /// # Errors
    /// Why it would not do, on one line; then nothing has changed.
    pub(crate) async fn swap(&self, next: Version, canary: Option<Canary>) -> Result<(), String> {
        self.probe(&next).await?;
        self.versions.replace(next, canary);
        Ok(())
    }

    /// A version would not do.
    pub(crate) fn refuse_swap(&self) {
        self.versions.refuse();
    }

    /// The version that serves.
    pub(crate) fn digest(&self) -> Digest {
        self.versions.digest()
    }

    /// What to do about a file with this digest, which is what there is now.
    pub(crate) fn stance(&self, digest: Digest) -> Stance {
        self.versions.stance(digest)
    }

    /// Asks an instance of a version that does not serve yet how it is.
    async fn probe(&self, version: &Version) -> Result<(), String> {
        let path = self.probe_path.as_str();
        let request = Request::get(path).header(HOST, "localhost").body(());
        let (mut parts, ()) = request.map_err(|error| error.to_string())?.into_parts();
        headers::prepare(&mut parts, RouteHeaders::everything(), path, &headers::CHAINED)?;
        let deadline = Instant::now() + self.limits.request_timeout.min(PROBE_TIMEOUT);
        version.pool.try_out(deadline).await?;
        let request = Request::from_parts(parts, full(Bytes::new()));
        match version.pool.run(request, Class::Client, deadline).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("GET {path} was answered {}", response.status())),
            Err(Refusal::Late) => Err(format!("GET {path} was not answered in time")),
            Err(Refusal::Failed) => Err(format!("GET {path} failed")),
            Err(Refusal::Busy) => Err(format!("GET {path} found no instance with room")),
        }
    }

    fn class(&self, path: &str) -> Class {
        let reserved = self.reserved_paths.iter().position(|reserved| reserved == path);
        reserved.map_or(Class::Client, Class::Reserved)
    }

    /// Always answers; failures are problem details.
    pub(crate) async fn answer<B>(&self, request: Request<B>, visit: Visit<'_>) -> Response<WasiBody>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let arrived = Instant::now();
        let (mut parts, body) = request.into_parts();
        let class = self.class(parts.uri.path());
        let span = trace::arrived(&self.name, &mut parts, visit.client, || {
            class == Class::Client && !self.client_traces.admit(arrived)
        });
        let mut under_way = UnderWay {
            meters: &self.meters,
            arrived,
            span: Some(span),
        };
        let origin = Origin::of(&parts);
        let client = visit.client;
        let method = parts.method.clone();
        let may_write = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        let mut response = match self.attempt(parts, body, visit, class).await {
            Ok(response) => {
                if may_write
                    && response.status().as_u16() < 500
                    && let Some(on_write) = &self.on_write
                {
                    on_write(&self.name);
                }
                response
            }
            Err(problem) => {
                let span = under_way.span.as_ref();
                let trace_id = span.and_then(Span::context).map(|context| context.trace_id());
                tracing::debug!(component = %self.name, trace_id, path = origin.path(), ?problem, "the host answered itself");
                problem.into_response(&origin)
            }
        };
        let mut span = under_way.span.take().unwrap_or(Span::NONE);
        let route = trace::answered(&mut span, &method, client, &mut response);
        self.meters.circuits(response.headers_mut());
        self.meters
            .answered(&method, route.as_deref(), response.status(), arrived.elapsed());
        reached(Point::HostAnswered);
        response
    }

    async fn attempt<B>(
        &self,
        mut parts: Parts,
        body: B,
        visit: Visit<'_>,
        class: Class,
    ) -> Result<Response<WasiBody>, Problem>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        headers::prepare(&mut parts, visit.route, visit.path_info, visit.client)
            .map_err(Problem::malformed)?;
        // The whole body is here before an instance is asked: a slow client occupies none.
        let room = self.bodies.room();
        let body = self.read(&parts.headers, body, &room).await?;
        parts.headers.remove(EXPECT);
        let is_head = parts.method == Method::HEAD;
        let is_health = parts.uri.path().starts_with(&self.probe_path);
        let deadline = Instant::now() + self.limits.request_timeout;
        let request = Request::from_parts(parts, full(body));
        let chosen = match self.versions.choose() {
            // Who is well all the time may still do nothing else well.
            chosen if is_health => chosen.uncounted(),
            chosen => chosen,
        };
        let answered = self.ask(chosen.pool(), request, class, deadline, is_head).await;
        chosen.answered(&answered);
        answered.map_err(|refusal| self.explain(refusal))
    }

    /// An answer that can be passed on: whole, unless it is to be streamed.
    async fn ask(
        &self,
        pool: &Pool,
        request: Request<WasiBody>,
        class: Class,
        deadline: Instant,
        is_head: bool,
    ) -> Result<Response<WasiBody>, Refusal> {
        let response = pool.run(request, class, deadline).await?;
        if response.status().is_informational() {
            // No answer at all: hyper would take it for the begin of another protocol.
            tracing::warn!(component = %self.name, status = %response.status(), "an answer is none");
            return Err(Refusal::Failed);
        }
        match declared_length(response.headers()) {
            Some(length) if length <= MAX_WHOLE_ANSWER_BYTES && !is_head => {
                self.collect(response, length, deadline).await
            }
            _ => Ok(life::or_cut_off(response)),
        }
    }

    fn explain(&self, refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Busy => {
                self.meters.rejections.increment(1);
                Problem::OVERLOADED
            }
            Refusal::Late => {
                self.meters.timeouts.increment(1);
                Problem::TIMEOUT
            }
            Refusal::Failed => Problem::FAILED,
        }
    }

    async fn read<B>(&self, headers: &HeaderMap, body: B, room: &Room<'_>) -> Result<Bytes, Problem>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if declared_length(headers).is_some_and(|length| length > self.limits.max_body_bytes) {
            // Who asked first has not sent it.
            if !headers.contains_key(EXPECT) {
                drain(body, self.limits.max_body_bytes).await;
            }
            return Err(Problem::BODY_TOO_LARGE);
        }
        let limit = usize::try_from(self.limits.max_body_bytes).unwrap_or(usize::MAX);
        let collected = tokio::time::timeout(
            self.limits.request_timeout,
            Limited::new(room.hold(body), limit).collect(),
        );
        match collected.await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::BODY_TOO_LARGE),
            Ok(Err(error)) if error.is::<NoRoom>() => Err(self.explain(Refusal::Busy)),
            Ok(Err(_)) => Err(Problem::malformed("The body broke off.")),
            Err(_) => Err(Problem::BODY_TIMEOUT),
        }
    }

    /// The answer in one piece, or an honest failure instead of half an answer.
    async fn collect(
        &self,
        response: Response<WasiBody>,
        length: u64,
        deadline: Instant,
    ) -> Result<Response<WasiBody>, Refusal> {
        let (parts, body) = response.into_parts();
        match tokio::time::timeout_at(deadline, body.collect()).await {
            Ok(Ok(collected)) => {
                let body = collected.to_bytes();
                if body.len() as u64 != length {
                    tracing::warn!(component = %self.name, length, is = body.len(), "an answer has another length than it says");
                    return Err(Refusal::Failed);
                }
                Ok(Response::from_parts(parts, full(body)))
            }
            // The instance that missed its deadline may have been ended before its client was told.
            Ok(Err(_)) if Instant::now() >= deadline => Err(Refusal::Late),
            Ok(Err(error)) => {
                tracing::warn!(component = %self.name, %error, "an answer broke off");
                Err(Refusal::Failed)
            }
            Err(_) => Err(Refusal::Late),
        }
    }
}

/// A request that is not answered yet. A client may go away meanwhile, or the component that called: then nobody is there
/// any more to be answered, and that is all that becomes of it.
struct UnderWay<'a> {
    meters: &'a Meters,
    arrived: Instant,
    /// Until it is answered.
    span: Option<Span>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.fail("cancelled");
            self.meters.abandoned(self.arrived.elapsed());
        }
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads and forgets, up to as much again as is allowed.
async fn drain<B>(body: B, max_bytes: u64)
where
    B: Body<Data = Bytes> + Send,
{
    let mut body = std::pin::pin!(body);
    let mut rest = max_bytes.saturating_mul(2);
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            if length > rest {
                return;
            }
            rest -= length;
        }
    };
    // However far it came: the answer is the same.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}
