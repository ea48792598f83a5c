//! The HTTP side of the shuttle: a signed batch to a service's events endpoint, and a look at its health.

use super::line::Fault;
use bytes::{Bytes, BytesMut};
use crash_points::{Point, through};
use event_batch::{BATCH_CONTENT_TYPE, BatchAnswer, SignatureHeaders, SigningKey};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri, body::Incoming};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use spans::Context;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use uuid::Uuid;

/// How long a service may take over a batch: a little longer than a host gives it, so that the host's own word arrives.
const BATCH_PATIENCE: Duration = Duration::from_secs(35);
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// An answer has an outcome and a reason for at most a hundred events.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// How much of a refusal is worth a log line.
const EXCERPT: usize = 200;

/// Where services are reached, and the key that they know the bridge by.
#[derive(Clone)]
pub(crate) struct Services {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    /// Of those that answer elsewhere.
    own_bases: Arc<BTreeMap<String, String>>,
    key: SigningKey,
}

impl Services {
    /// # Errors
    /// If `base` or one of the services' own is not an `http` address.
    pub(crate) fn new(
        base: &str,
        own_bases: &BTreeMap<String, String>,
        key: SigningKey,
    ) -> Result<Self, String> {
        let base = address("events url", base)?;
        let own_bases = own_bases
            .iter()
            .map(|(service, base)| {
                Ok((
                    service.clone(),
                    address(&format!("service url of {service}"), base)?,
                ))
            })
            .collect::<Result<_, String>>()?;
        let own_bases = Arc::new(own_bases);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Self {
            client,
            base,
            own_bases,
            key,
        })
    }

    /// Sends events, each a JSON object, within `trace` if there is one, and waits for what becomes of them.
    ///
    /// # Errors
    /// If there is no 200 with an answer that can be read in time.
    pub(crate) async fn post(
        &self,
        service: &str,
        events: &[Bytes],
        trace: Option<Context>,
    ) -> Result<BatchAnswer, Fault> {
        let request = self.batch(service, array(events), trace).map_err(unavailable)?;
        let exchange = async {
            let answer = through(Point::ShuttleAnswered, self.client.request(request)).await;
            let answer = answer.map_err(|error| lost(&error))?;
            read(answer).await
        };
        match timeout(BATCH_PATIENCE, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Fault::Failed(format!(
                "no answer within {} s",
                BATCH_PATIENCE.as_secs()
            ))),
        }
    }

    /// Whether the service says that it is well.
    pub(crate) async fn is_healthy(&self, service: &str) -> bool {
        let request = Request::get(self.uri(service, "health")).body(Full::default());
        let Ok(request) = request else { return false };
        let answer = through(Point::ShuttleAsked, self.client.request(request));
        let answer = timeout(HEALTH_PATIENCE, answer).await;
        matches!(answer, Ok(Ok(answer)) if answer.status() == StatusCode::OK)
    }

    fn uri(&self, service: &str, of: &str) -> String {
        let base = self.own_bases.get(service).unwrap_or(&self.base);
        format!("{base}/internal/{service}/{of}")
    }

    fn batch(
        &self,
        service: &str,
        body: Bytes,
        trace: Option<Context>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let id = format!("msg_{}", Uuid::now_v7().simple());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let signature = self.key.sign(&id, now, &body);
        let mut request = Request::builder();
        if let Some(trace) = trace {
            request = request.header("traceparent", trace.to_string());
        }
        request
            .method(Method::POST)
            .uri(self.uri(service, "events"))
            .header(CONTENT_TYPE, BATCH_CONTENT_TYPE)
            .header(CONTENT_LENGTH, body.len())
            .header(ACCEPT, "application/json")
            .header(SignatureHeaders::ID, id)
            .header(SignatureHeaders::TIMESTAMP, now)
            .header(SignatureHeaders::SIGNATURE, signature)
            .body(Full::new(body))
    }
}

/// An `http` address, without a slash at its end.
fn address(what: &str, base: &str) -> Result<String, String> {
    let base = base.trim_end_matches('/').to_owned();
    let uri: Uri = base
        .parse()
        .map_err(|error| format!("{what} {base:?}: {error}"))?;
    if uri.scheme_str() != Some("http") || uri.authority().is_none() || uri.query().is_some() {
        return Err(format!("{what} {base:?} is not of the form http://host:port"));
    }
    Ok(base)
}

fn array(events: &[Bytes]) -> Bytes {
    let size = events.iter().map(|event| event.len() + 1).sum::<usize>() + 2;
    let mut body = BytesMut::with_capacity(size);
    body.extend_from_slice(b"[");
    for (number, event) in events.iter().enumerate() {
        if number > 0 {
            body.extend_from_slice(b",");
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(b"]");
    body.freeze()
}

async fn read(answer: Response<Incoming>) -> Result<BatchAnswer, Fault> {
    let status = answer.status();
    let asks_to_wait = answer.headers().contains_key(RETRY_AFTER);
    let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect();
    let body = through(Point::ShuttleRead, body).await;
    let body = body
        .map_err(|error| Fault::Failed(format!("the answer broke off: {error}")))?
        .to_bytes();
    if status == StatusCode::OK {
        return serde_json::from_slice(&body)
            .map_err(|error| Fault::Failed(format!("the answer cannot be read: {error}")));
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned();
    let reason = format!("answered {}: {text}", status.as_u16());
    Err(if blames_nobody(status, asks_to_wait) {
        Fault::Unavailable(reason)
    } else {
        Fault::Failed(reason)
    })
}

/// Answers that no event can be the cause of: a wrong key or address, a service that asks to be left alone.
fn blames_nobody(status: StatusCode, asks_to_wait: bool) -> bool {
    match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => asks_to_wait,
        _ => false,
    }
}

fn lost(error: &hyper_util::client::legacy::Error) -> Fault {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    if error.is_connect() {
        Fault::Unavailable(reason)
    } else {
        Fault::Failed(reason)
    }
}

fn unavailable(error: hyper::http::Error) -> Fault {
    Fault::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_joined_into_an_array_as_they_are() {
        let events = [Bytes::from_static(b"{\"id\": 1}"), Bytes::from_static(b"{}")];
        assert_eq!(array(&events), &b"[{\"id\": 1},{}]"[..]);
        assert_eq!(array(&[]), &b"[]"[..]);
    }

    #[test]
    fn a_wrong_key_or_an_unwell_service_is_never_an_events_fault() {
        assert!(blames_nobody(StatusCode::UNAUTHORIZED, false));
        assert!(blames_nobody(StatusCode::SERVICE_UNAVAILABLE, true));
        assert!(!blames_nobody(StatusCode::SERVICE_UNAVAILABLE, false));
        assert!(!blames_nobody(StatusCode::INTERNAL_SERVER_ERROR, true));
        assert!(!blames_nobody(StatusCode::PAYLOAD_TOO_LARGE, false));
    }

    #[test]
    fn only_an_http_address_is_taken() {
        let key = || SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let services = |base: &str, own: &[(&str, &str)]| {
            let own = own
                .iter()
                .map(|(name, base)| ((*name).to_owned(), (*base).to_owned()));
            Services::new(base, &own.collect(), key())
        };
        let some = services("http://127.0.0.1:8000/", &[("ordering", "http://ordering:8003")]).unwrap();
        assert_eq!(
            some.uri("payment", "health"),
            "http://127.0.0.1:8000/internal/payment/health"
        );
        assert_eq!(
            some.uri("ordering", "events"),
            "http://ordering:8003/internal/ordering/events"
        );
        for url in [
            "127.0.0.1:8000",
            "https://shop",
            "http://shop/?a=b",
            "amqp://shop",
        ] {
            assert!(services(url, &[]).is_err(), "{url}");
            assert!(services("http://shop", &[("ordering", url)]).is_err(), "{url}");
        }
    }
}
