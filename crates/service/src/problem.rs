//! Errors as clients see them: RFC 9457 problem details. `docs/api.md` lists every slug.

use crate::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// One field of a request and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where: `items[0].quantity`; empty for the body as a whole.
    pub field: String,
    pub message: String,
}

/// An error answer. What it says is for the client: no SQL, no secret, no host name.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
    members: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem of the type `/problems/<slug>`.
    #[must_use]
    pub fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let (errors, headers, members) = Default::default();
        Self {
            status,
            slug,
            title,
            detail: detail.into(),
            errors,
            headers,
            members,
        }
    }

    /// The same problem with one more header.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same problem with one more member of its own (RFC 9457, section 3.2).
    #[must_use]
    pub fn with_member(mut self, name: &str, value: serde_json::Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    #[must_use]
    pub fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-route",
            "No such route",
            "Nothing is served at this path.",
        )
    }

    /// 404 for an object that is absent, or someone else's.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "Not found",
            format!("There is no such {what}."),
        )
    }

    /// 405; `allow` lists what the route takes.
    #[must_use]
    pub fn method_not_allowed(allow: &str) -> Self {
        let problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            format!("This route takes {allow}."),
        );
        match HeaderValue::from_str(allow) {
            Ok(value) => problem.with_header(header::ALLOW, value),
            Err(_) => problem,
        }
    }

    /// 401; `challenge` is the value of `WWW-Authenticate` (RFC 6750, section 3).
    #[must_use]
    pub fn unauthorized(challenge: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not signed in", detail)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "Not allowed",
            "Your role may not do this.",
        )
    }

    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "Body too large",
            format!("The body is larger than {limit_bytes} bytes."),
        )
    }

    #[must_use]
    pub fn unsupported_media_type(expected: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            format!("The body must be {expected}."),
        )
    }

    /// 400: what was sent cannot be read at all.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", detail)
    }

    /// 422: what was sent can be read, but does not hold.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = "Some fields do not hold; see `errors`.";
        let problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation",
            "Invalid request",
            detail,
        );
        Self { errors, ..problem }
    }

    /// 422 for a single field.
    #[must_use]
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// 409.
    #[must_use]
    pub fn conflict(slug: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, slug, "Conflict", detail)
    }

    #[must_use]
    pub fn stale() -> Self {
        let detail = "It has changed since the version that If-Match names.";
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "stale",
            "Precondition failed",
            detail,
        )
    }

    #[must_use]
    pub fn precondition_required(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PRECONDITION_REQUIRED,
            "precondition-required",
            "Precondition required",
            detail,
        )
    }

    /// 429: the client is to wait for so many seconds.
    #[must_use]
    pub fn too_many_requests(retry_after_seconds: u64, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "Too many requests",
            detail,
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds))
    }

    /// 503: something that the request needs is down, or too busy; the client may try again.
    #[must_use]
    pub fn unavailable() -> Self {
        let detail = "Something that this request needs does not answer. Try again.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Unavailable",
            detail,
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 500: a mistake of ours. What it was goes to the log, not to the client.
    #[must_use]
    pub fn internal() -> Self {
        let detail = "The shop made a mistake. It has been noted.";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            detail,
        )
    }

    /// The answer; `instance` is the path that the client asked for.
    #[must_use]
    pub fn into_response(self, instance: &str) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "type")]
            kind: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            instance: &'a str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: &'a [FieldError],
            #[serde(flatten)]
            members: &'a serde_json::Map<String, serde_json::Value>,
        }
        let body = Body {
            kind: format!("/problems/{}", self.slug),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            instance,
            errors: &self.errors,
            members: &self.members,
        };
        let mut response = Response::json_as(self.status, "application/problem+json", &body);
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
