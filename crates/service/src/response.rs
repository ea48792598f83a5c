//! Answers: whole bodies with their length, so that headers and body leave in one write.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

/// An answer, ready to send.
#[derive(Debug)]
pub struct Response(http::Response<Bytes>);

impl Response {
    /// `body` as JSON.
    #[must_use]
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::json_as(status, "application/json", body)
    }

    /// `body` as JSON of this media type.
    #[must_use]
    pub fn json_as(status: StatusCode, content_type: &'static str, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => Self::bytes(status, content_type, bytes.into()),
            // Only a map whose keys are no strings fails, and no body of ours has one.
            Err(_) => Self::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// `body` as it is.
    #[must_use]
    pub fn bytes(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        let length = body.len();
        let mut response = http::Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        Self(response)
    }

    /// No body. 204 and 304 have no length either (RFC 9110, section 8.6).
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = status;
        if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Self(response)
    }

    /// The answer of another service, passed on.
    #[must_use]
    pub fn passed_on(response: http::Response<Bytes>) -> Self {
        Self(response)
    }

    /// The same answer with one more header. A value that is no header is left out.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    #[must_use]
    pub fn body(&self) -> &Bytes {
        self.0.body()
    }

    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.0.headers_mut()
    }

    /// As the `http` crate has it.
    #[must_use]
    pub fn into_http(self) -> http::Response<Bytes> {
        self.0
    }
}
