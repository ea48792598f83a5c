//! Answers that are the same for everybody: a file that is part of the component, with an entity tag made of its bytes.

use crate::request::Request;
use crate::response::Response;
use crate::router::Answer;
use bytes::Bytes;
use http::{StatusCode, header};
use sha2::{Digest as _, Sha256};
use std::sync::OnceLock;

/// A file that is served as it is.
pub struct Fixed {
    content_type: &'static str,
    body: &'static [u8],
    /// Made at the first request: hashing at the start would delay every other one.
    etag: OnceLock<String>,
}

impl Fixed {
    #[must_use]
    pub const fn new(content_type: &'static str, body: &'static [u8]) -> Self {
        Self {
            content_type,
            body,
            etag: OnceLock::new(),
        }
    }

    /// Answers `request`.
    ///
    /// # Errors
    /// Never: it is an [`Answer`] so that a route may end with it.
    pub fn answer(&self, request: &Request) -> Answer {
        let lines = request.headers.get_all(header::IF_NONE_MATCH).iter();
        Ok(self.unless_known(lines.filter_map(|line| line.to_str().ok())))
    }

    /// The file, or 304 if one of the lines of `If-None-Match` names it (RFC 9110, section 13.1.2).
    pub fn unless_known<'a>(&self, mut lines: impl Iterator<Item = &'a str>) -> Response {
        let etag = self.etag();
        let names_it = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
        let response = if lines.any(|line| line.split(',').map(str::trim).any(names_it)) {
            Response::empty(StatusCode::NOT_MODIFIED)
        } else {
            Response::bytes(StatusCode::OK, self.content_type, Bytes::from_static(self.body))
        };
        // Kept by whoever likes, and asked for anew each time, which costs a 304: a new release is seen at once.
        response
            .with_header(header::ETAG, etag)
            .with_header(header::CACHE_CONTROL, "no-cache")
    }

    fn etag(&self) -> &str {
        self.etag.get_or_init(|| {
            let digest = Sha256::digest(self.body);
            let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            format!("\"{hex}\"")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_once_to_whoever_names_its_tag_the_next_time() {
        let file = Fixed::new("text/plain", b"roses");
        let first = file.unless_known([].into_iter());
        assert_eq!(
            (first.status(), &first.body()[..]),
            (StatusCode::OK, &b"roses"[..])
        );
        let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for line in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let again = file.unless_known([line.as_str()].into_iter());
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{line}");
            assert!(again.body().is_empty());
            assert_eq!(again.headers()[header::ETAG], etag);
        }
        let other = Fixed::new("text/plain", b"tulips").unless_known([etag.as_str()].into_iter());
        assert_eq!(other.status(), StatusCode::OK);
    }
}
