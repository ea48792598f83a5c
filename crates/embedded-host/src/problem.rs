//! What the host answers itself: problem details (RFC 9457) that say no more than a client may know.

use bytes::Bytes;
use chrono::Utc;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use uuid::Uuid;
use wasmtime_wasi_http::WasiBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;
/// What a component that passed the request on cut off its path; set by proxies of all kinds.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const MAX_PREFIX_BYTES: usize = 64;
/// What keeps a browser from doing more with an answer than it should: those of the services' own answers.
const SECURITY: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];
/// When to try again, where trying again is all that helps.
const RETRY_AFTER_SECONDS: &str = "1";

/// An error answer of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: &'static str,
}

impl Problem {
    const fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: &'static str,
    ) -> Problem {
        Problem {
            status,
            slug,
            title,
            detail,
        }
    }

    pub(crate) const fn malformed(detail: &'static str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", detail)
    }

    pub(crate) const NO_ROUTE: Problem = Problem::new(
        StatusCode::NOT_FOUND,
        "no-route",
        "No such route",
        "Nothing is served at this path.",
    );

    pub(crate) const HEAD_TIMEOUT: Problem = Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "head-timeout",
        "Request timeout",
        "The head of the request did not arrive in time.",
    );

    pub(crate) const TARGET_TOO_LONG: Problem = Problem::new(
        StatusCode::URI_TOO_LONG,
        "target-too-long",
        "Target too long",
        "The request line is longer than this server takes.",
    );

    pub(crate) const HEAD_TOO_LARGE: Problem = Problem::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head-too-large",
        "Head too large",
        "The headers are larger, or more, than this server takes.",
    );

    pub(crate) const EXPECTATION: Problem = Problem::new(
        StatusCode::EXPECTATION_FAILED,
        "expectation-failed",
        "Expectation failed",
        "This server knows no expectation but 100-continue.",
    );

    pub(crate) const NOT_IMPLEMENTED: Problem = Problem::new(
        StatusCode::NOT_IMPLEMENTED,
        "not-implemented",
        "Not implemented",
        "This server knows neither CONNECT nor transfer codings but chunked.",
    );

    pub(crate) const VERSION: Problem = Problem::new(
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        "http-version",
        "HTTP version not supported",
        "This server speaks HTTP/1.1 and HTTP/1.0.",
    );

    pub(crate) const TOO_MANY_CONNECTIONS: Problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too-many-connections",
        "Too many connections",
        "There are as many connections as this server takes, of this client or of all.",
    );

    pub(crate) const BODY_TIMEOUT: Problem = Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body-timeout",
        "Request timeout",
        "The body did not arrive in time.",
    );

    pub(crate) const BODY_TOO_LARGE: Problem = Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        "Body too large",
        "The body is larger than this server takes.",
    );

    /// The component trapped, or answered an error that is no response.
    pub(crate) const FAILED: Problem = Problem::new(
        StatusCode::BAD_GATEWAY,
        "component-failed",
        "Service failed",
        "The service failed while it worked on this request.",
    );

    pub(crate) const OVERLOADED: Problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "Overloaded",
        "The service has as many requests as it can take.",
    );

    pub(crate) const TIMEOUT: Problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "timeout",
        "Timeout",
        "The service did not answer in time. What was asked of it may have happened.",
    );

    /// What its type ends in.
    pub(crate) fn slug(self) -> &'static str {
        self.slug
    }

    pub(crate) fn into_response(self, origin: &Origin) -> Response<WasiBody> {
        let instance = format!("{}{}", origin.prefix(), origin.uri.path());
        let mut response = Response::new(full(self.document(Some(&instance)).into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(REQUEST_ID, origin.request_id());
        for (name, value) in SECURITY {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }

    /// A whole answer as it goes over the wire, the last one of its connection: for what was no request that anybody
    /// could look at.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let body = self.document(None);
        let date = Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
        let retry_after = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => format!("retry-after: {RETRY_AFTER_SECONDS}\r\n"),
            _ => String::new(),
        };
        let security = SECURITY
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .concat();
        let head = format!(
            "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             x-request-id: {}\r\n{security}{retry_after}connection: close\r\ndate: {date}\r\n\r\n",
            self.status,
            body.len(),
            Uuid::now_v7(),
        );
        [head.into_bytes(), body].concat()
    }

    fn document(self, instance: Option<&str>) -> Vec<u8> {
        let document = Document {
            r#type: format!("/problems/{}", self.slug),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
            instance,
        };
        // A document of strings and a number can always be written.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
}

/// A body that is all there.
pub(crate) fn full(bytes: Bytes) -> WasiBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// What an error answer repeats of its request; kept aside while the request goes to a component.
pub(crate) struct Origin {
    uri: Uri,
    prefix: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
}

impl Origin {
    pub(crate) fn of(parts: &Parts) -> Origin {
        Origin::new(&parts.uri, &parts.headers)
    }

    pub(crate) fn new(uri: &Uri, headers: &HeaderMap) -> Origin {
        Origin {
            uri: uri.clone(),
            prefix: headers.get(PREFIX).filter(|prefix| is_prefix(prefix)).cloned(),
            request_id: headers.get(REQUEST_ID).filter(|id| is_sane(id)).cloned(),
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    fn prefix(&self) -> &str {
        let prefix = self.prefix.as_ref().and_then(|prefix| prefix.to_str().ok());
        prefix.unwrap_or_default()
    }

    /// The client's own if it is a sane one, else a new one.
    fn request_id(&self) -> HeaderValue {
        self.request_id.clone().unwrap_or_else(|| {
            HeaderValue::try_from(Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("none"))
        })
    }
}

fn is_sane(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_prefix(prefix: &HeaderValue) -> bool {
    let bytes = prefix.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    bytes.len() <= MAX_PREFIX_BYTES && bytes.starts_with(b"/") && bytes.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn origin(request_id: Option<&str>) -> Origin {
        let mut request = Request::get("/a?b=c");
        if let Some(id) = request_id {
            request = request.header("x-request-id", id);
        }
        Origin::of(&request.body(()).unwrap().into_parts().0)
    }

    #[tokio::test]
    async fn a_problem_says_what_and_where() {
        let response = Problem::OVERLOADED.into_response(&origin(Some("abc")));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-request-id"], "abc");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "/problems/overloaded",
                "title": "Overloaded",
                "status": 503,
                "detail": "The service has as many requests as it can take.",
                "instance": "/a",
            })
        );
    }

    #[test]
    fn a_problem_without_a_request_is_a_whole_answer_as_well() {
        let answer = String::from_utf8(Problem::TOO_MANY_CONNECTIONS.into_bytes()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        for field in [
            "retry-after: 1",
            "connection: close",
            "date: ",
            "x-request-id: ",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.contains(&format!("\r\n{field}")), "{head}");
        }
        assert!(
            head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())),
            "{head}"
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["type"], "/problems/too-many-connections");
        assert!(body.get("instance").is_none());
    }

    #[test]
    fn what_a_gateway_cut_off_is_put_back() {
        for (sent, shown) in [
            ("/api", "/api"),
            ("/api/v1", "/api/v1"),
            ("api", ""),
            ("/<b>", ""),
            ("", ""),
        ] {
            let request = Request::get("/a").header("x-forwarded-prefix", sent);
            let origin = Origin::of(&request.body(()).unwrap().into_parts().0);
            assert_eq!(origin.prefix(), shown, "{sent}");
        }
    }

    #[test]
    fn a_request_id_that_is_none_is_replaced() {
        for id in ["a b", "<script>", "", &"x".repeat(129)] {
            let answered = origin(Some(id)).request_id();
            assert!(Uuid::parse_str(answered.to_str().unwrap()).is_ok(), "{id}");
        }
        assert!(Uuid::parse_str(origin(None).request_id().to_str().unwrap()).is_ok());
    }
}
