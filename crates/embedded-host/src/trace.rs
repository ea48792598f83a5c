//! The spans of the host: one for each request that a component answers and one for each call that it makes, by
//! OpenTelemetry's semantic conventions. Which trace a request belongs to is in its headers; which request a call was
//! made for, when an instance works on several, is known by the task that made it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use spans::{Context, Kind, Span};
use tokio::time::Instant;
use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, GuestTaskId, HasSelf};
use wasmtime_wasi_http::WasiBody;

use crate::headers;
use crate::imports::Guest;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The same between components alone: where a host has spans of its own kind, it writes over the other.
const PRIVATE: HeaderName = HeaderName::from_static("x-shop-traceparent");
/// By this a component is asked, and says, which of its routes answers (`/orders/{id}`). For the host alone.
const ROUTE: HeaderName = HeaderName::from_static("x-shop-route");
/// Of a longer path the rest is left out.
const MAX_PATH_BYTES: usize = 256;
/// A longer template is none.
const MAX_ROUTE_BYTES: usize = 128;

/// How many traces clients may have recorded. A client's word is taken (W3C Trace Context, section 3.2.2.5.1), but not for
/// more than that: who asks for all of them would have all the room that spans have.
pub(crate) struct ClientTraces {
    per_second: u32,
    /// A second and how many there were in it.
    recent: Mutex<(Instant, u32)>,
}

impl ClientTraces {
    pub(crate) fn new(per_second: u32) -> ClientTraces {
        ClientTraces {
            per_second,
            recent: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Whether one more is recorded.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(recent.0) >= Duration::from_secs(1) {
            *recent = (now, 0);
        }
        recent.1 = recent.1.saturating_add(1);
        recent.1 <= self.per_second
    }
}

/// Begins the span of a request that `component` answers, and has the component see its context. A client that was not
/// chained to has no say in the private header, and none in what is recorded if there are too many.
pub(crate) fn arrived(
    component: &Arc<str>,
    parts: &mut Parts,
    client: &HeaderValue,
    are_too_many: impl FnOnce() -> bool,
) -> Span {
    parts.headers.insert(ROUTE, HeaderValue::from_static("?"));
    let is_chained = headers::is_chained(client);
    let private = parts.headers.remove(PRIVATE).filter(|_| is_chained);
    let parent = private
        .as_ref()
        .or_else(|| parts.headers.get(TRACEPARENT))
        .and_then(read);
    let parent = parent.map(
        |parent| match !is_chained && parent.is_sampled() && are_too_many() {
            true => parent.unrecorded(),
            false => parent,
        },
    );
    let mut span = Span::begin(component, Kind::Server, method(&parts.method), parent.as_ref());
    match span.context().and_then(written) {
        Some(context) => {
            parts.headers.insert(TRACEPARENT, context);
        }
        // Nothing is recorded here: what came goes on.
        None => {
            if let Some(private) = private {
                parts.headers.insert(PRIVATE, private);
            }
        }
    }
    if span.is_recorded() {
        span.set("http.request.method", method(&parts.method));
        span.set("url.scheme", "http");
        span.set("url.path", path(parts.uri.path()));
        if let Some(context) = span.context() {
            parts.extensions.insert(context);
        }
    }
    span
}

/// The template of the route that answered, if the component named one. It goes on to whoever called from this host, and
/// to nobody else.
pub(crate) fn answered(
    span: &mut Span,
    method_of: &Method,
    client: &HeaderValue,
    response: &mut Response<WasiBody>,
) -> Option<String> {
    let headers = response.headers_mut();
    let route = headers.get(ROUTE).and_then(template);
    if !headers::is_chained(client) {
        headers.remove(ROUTE);
    }
    if span.is_recorded() {
        if let Some(route) = &route {
            span.rename(format!("{} {route}", method(method_of)));
            span.set("http.route", route.clone());
        }
        status(span, response.status(), StatusCode::is_server_error);
    }
    route
}

fn status(span: &mut Span, status: StatusCode, is_failure: fn(&StatusCode) -> bool) {
    span.set("http.response.status_code", status.as_u16());
    if is_failure(&status) {
        span.fail(status.as_str());
    }
}

fn template(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    (text.starts_with('/') && text.len() <= MAX_ROUTE_BYTES).then(|| text.to_owned())
}

/// Begins the span of a request that a component sends, within the trace that it names, and has the receiver see it.
pub(crate) fn calls(component: &Arc<str>, request: &mut Request<WasiBody>) -> Span {
    let headers = request.headers();
    let parent = headers
        .get(PRIVATE)
        .or_else(|| headers.get(TRACEPARENT))
        .and_then(read);
    let mut span = Span::within(component, Kind::Client, method(request.method()), parent.as_ref());
    if !span.is_recorded() {
        return span;
    }
    span.set("http.request.method", method(request.method()));
    span.set("url.path", path(request.uri().path()));
    if let Some(authority) = request.uri().authority() {
        span.set("server.address", authority.host().to_owned());
        span.set("server.port", authority.port_u16().unwrap_or(80));
    }
    if let Some(context) = span.context().and_then(written) {
        if request.headers().contains_key(PRIVATE) {
            request.headers_mut().insert(PRIVATE, context.clone());
        }
        request.headers_mut().insert(TRACEPARENT, context);
    }
    span
}

/// What came of that request.
pub(crate) fn called<E: std::fmt::Debug>(span: &mut Span, answer: &Result<Response<WasiBody>, E>) {
    match answer {
        // To a client a refusal is a failure, too.
        Ok(response) => status(span, response.status(), |status| {
            status.is_client_error() || status.is_server_error()
        }),
        Err(error) if span.is_recorded() => {
            // The name of the kind, without what it holds.
            let kind = format!("{error:?}");
            span.fail(kind.split([' ', '(', '{']).next().unwrap_or_default());
        }
        Err(_) => {}
    }
}

/// Begins the span of a call to a database, made for the request that the running task works on.
pub(crate) fn queries<T>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    system: &'static str,
    name: impl Into<std::borrow::Cow<'static, str>>,
) -> Span {
    let Some((component, context)) = caller(accessor) else {
        return Span::NONE;
    };
    let mut span = Span::within(&component, Kind::Client, name, Some(&context));
    span.set("db.system.name", system);
    span
}

/// The request that the running task works on, if its trace is recorded. To be asked before anything is awaited: later
/// on no task runs.
fn caller<T>(accessor: &Accessor<T, HasSelf<Guest>>) -> Option<(Arc<str>, Context)> {
    accessor.with(|mut access| {
        if access.get().traced.is_empty() {
            return None;
        }
        let tasks: Vec<GuestTaskId> = access.as_context_mut().async_call_stack().ok()?.collect();
        let guest = access.get();
        let context = tasks.iter().find_map(|task| guest.traced.get(task))?;
        Some((Arc::clone(&guest.surroundings.component), *context))
    })
}

/// The context of a request's span, if that is recorded.
pub(crate) fn of(request: &Request<WasiBody>) -> Option<Context> {
    request.extensions().get().copied()
}

/// As much of a path as is worth keeping.
fn path(path: &str) -> String {
    let end = path.floor_char_boundary(MAX_PATH_BYTES);
    path.get(..end).unwrap_or_default().to_owned()
}

fn read(value: &HeaderValue) -> Option<Context> {
    value.to_str().ok().and_then(Context::parse)
}

fn written(context: Context) -> Option<HeaderValue> {
    HeaderValue::try_from(context.to_string()).ok()
}

/// The method as a name of which there are few.
pub(crate) fn method(method: &Method) -> &'static str {
    METHODS
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("_OTHER")
}

/// The methods that are told apart.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parts(private: &str) -> Parts {
        let request = Request::post("http://h/orders").header("x-shop-traceparent", private);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_private_header_is_taken_from_a_chained_call_alone() {
        let component = Arc::from("ordering");
        let mut chained = parts(TRACE);
        drop(arrived(&component, &mut chained, &headers::CHAINED, || true));
        assert_eq!(chained.headers["x-shop-traceparent"], TRACE);
        let mut foreign = parts(TRACE);
        drop(arrived(
            &component,
            &mut foreign,
            &HeaderValue::from_static("10.0.0.1:7"),
            || false,
        ));
        assert!(!foreign.headers.contains_key("x-shop-traceparent"));
    }

    #[test]
    fn clients_have_so_many_traces_recorded_each_second() {
        let (traces, now) = (ClientTraces::new(2), Instant::now());
        assert_eq!([now; 3].map(|now| traces.admit(now)), [true, true, false]);
        assert!(!traces.admit(now + Duration::from_millis(900)));
        assert!(traces.admit(now + Duration::from_secs(2)));
        assert!(!ClientTraces::new(0).admit(now));
    }

    #[test]
    fn the_route_of_an_answer_is_for_the_host_alone() {
        let mut response = Response::new(crate::problem::full(bytes::Bytes::new()));
        let headers = response.headers_mut();
        headers.insert("x-shop-route", HeaderValue::from_static("/orders/{id}"));
        let mut nothing = Span::NONE;
        let mut route = |client: &HeaderValue| answered(&mut nothing, &Method::GET, client, &mut response);
        assert_eq!(route(&headers::CHAINED).as_deref(), Some("/orders/{id}"));
        let client = HeaderValue::from_static("10.0.0.1:7");
        assert_eq!(route(&client).as_deref(), Some("/orders/{id}"));
        assert_eq!(route(&client), None);
        assert!(response.headers().is_empty());
    }

    #[test]
    fn a_template_that_could_be_anything_is_none() {
        for text in ["orders", &format!("/{}", "x".repeat(200))] {
            assert_eq!(template(&HeaderValue::try_from(text).unwrap()), None);
        }
    }

    #[test]
    fn methods_are_few() {
        assert_eq!(method(&Method::PATCH), "PATCH");
        assert_eq!(method(&Method::from_bytes(b"MAKEITUP").unwrap()), "_OTHER");
    }
}
