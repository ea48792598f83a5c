//! A collector of spans: takes what is sent by OTLP over HTTP, reads all of it, and refuses what the protocol does not
//! know.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// OpenTelemetry's kinds of spans.
pub const SERVER: i32 = 2;
pub const CLIENT: i32 = 3;
pub const PRODUCER: i32 = 4;
pub const CONSUMER: i32 = 5;

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub kind: i32,
    pub trace_id: String,
    pub span_id: String,
    /// Empty for the first span of a trace.
    pub parent_id: String,
    pub attributes: BTreeMap<String, String>,
    /// Trace and span of each.
    pub links: Vec<(String, String)>,
    pub failure: Option<String>,
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    /// Why something was refused.
    refused: Vec<String>,
}

/// A collector at work; it ends with this value.
pub struct Collector {
    pub endpoint: String,
    taken: Arc<Mutex<Taken>>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// Listens at an address of its own.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let task = tokio::spawn(serve(listener, taken.clone()));
        Ok(Self {
            endpoint,
            taken,
            task,
        })
    }

    /// All spans so far.
    ///
    /// # Errors
    /// If anything came that is no OTLP.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(taken.refused.is_empty(), "{:?}", taken.refused);
        Ok(taken.spans.clone())
    }

    /// The spans of one trace so far.
    ///
    /// # Errors
    /// If anything came that is no OTLP.
    pub fn trace(&self, trace_id: &str) -> Result<Vec<Span>> {
        let mut spans = self.spans()?;
        spans.retain(|span| span.trace_id == trace_id);
        Ok(spans)
    }
}

async fn serve(listener: TcpListener, taken: Arc<Mutex<Taken>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let taken = taken.clone();
        let service = service_fn(move |request| answer(request, taken.clone()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    taken: Arc<Mutex<Taken>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let read = read(request).await;
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    let status = match read {
        Ok(spans) => {
            taken.spans.extend(spans);
            StatusCode::OK
        }
        Err(error) => {
            taken.refused.push(format!("{error:#}"));
            StatusCode::BAD_REQUEST
        }
    };
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"partialSuccess\":{}}")));
    *response.status_mut() = status;
    Ok(response)
}

async fn read(request: Request<Incoming>) -> Result<Vec<Span>> {
    let (head, body) = request.into_parts();
    ensure!(
        (&head.method, head.uri.path()) == (&Method::POST, "/v1/traces"),
        "{} {}",
        head.method,
        head.uri
    );
    let kind = head.headers.get("content-type").context("no content type")?;
    ensure!(kind == "application/json", "{kind:?}");
    let body = body.collect().await?.to_bytes();
    let export: Export = serde_json::from_slice(&body)?;
    let mut spans = Vec::new();
    for resource in export.resource_spans {
        let service = resource
            .resource
            .attributes
            .iter()
            .find(|attribute| attribute.key == "service.name")
            .context("a resource without service.name")?
            .value
            .text();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(span.check(&service)?);
        }
    }
    Ok(spans)
}

// The messages of opentelemetry-proto in their JSON form, as far as anybody here sends them.

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Export {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeSpans {
    #[expect(dead_code, reason = "it must be there, and be an object with a name")]
    scope: Scope,
    spans: Vec<Sent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    #[expect(dead_code, reason = "as above")]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attribute {
    key: String,
    value: AnyValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum AnyValue {
    StringValue(String),
    /// 64 bits do not fit into a number of JSON.
    IntValue(String),
}

impl AnyValue {
    fn text(&self) -> String {
        match self {
            Self::StringValue(text) | Self::IntValue(text) => text.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sent {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    name: String,
    kind: i32,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute>,
    #[serde(default)]
    links: Vec<Link>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Link {
    trace_id: String,
    span_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    code: i32,
    #[serde(default)]
    message: String,
}

impl Sent {
    fn check(self, service: &str) -> Result<Span> {
        let id = |text: &str, digits| {
            let hex = text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
            text.len() == digits && hex && text.bytes().any(|byte| byte != b'0')
        };
        ensure!(
            id(&self.trace_id, 32) && id(&self.span_id, 16),
            "no ids: {}",
            self.name
        );
        let parent = &self.parent_span_id;
        ensure!(parent.is_empty() || id(parent, 16), "no parent: {parent}");
        ensure!((1..=5).contains(&self.kind), "no kind: {}", self.kind);
        ensure!(!self.name.is_empty(), "no name");
        let (start, end): (u64, u64) = (
            self.start_time_unix_nano.parse()?,
            self.end_time_unix_nano.parse()?,
        );
        ensure!(start > 0 && start <= end, "{} ends before it begins", self.name);
        let mut attributes = BTreeMap::new();
        for attribute in self.attributes {
            if let AnyValue::IntValue(number) = &attribute.value {
                number.parse::<i64>().context("no number")?;
            }
            if attributes
                .insert(attribute.key.clone(), attribute.value.text())
                .is_some()
            {
                bail!("{} is there twice", attribute.key);
            }
        }
        Ok(Span {
            service: service.to_owned(),
            name: self.name,
            kind: self.kind,
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_id: self.parent_span_id,
            attributes,
            links: self
                .links
                .into_iter()
                .map(|link| (link.trace_id, link.span_id))
                .collect(),
            failure: self
                .status
                .filter(|status| status.code == 2)
                .map(|status| status.message),
        })
    }
}
