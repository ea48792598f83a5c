//! Conditional requests (RFC 9110, section 13). The entity tag of an object is its version, `"3"`; that of a list, which
//! has none, is a digest of its body.

use crate::request::Request;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

/// How many bytes of the digest make a tag: enough that no two bodies will ever share one.
const DIGEST_BYTES: usize = 16;

/// The entity tag of an object's `version`.
#[must_use]
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The entity tag of a body that has no version. It never looks like a version's.
#[must_use]
pub fn etag_of_body(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let short = digest.get(..DIGEST_BYTES).unwrap_or(&digest);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(short))
}

/// The entity tag of the same body in gzip: other bytes, another tag (RFC 9110, section 8.8.3.3).
#[must_use]
pub fn etag_in_gzip(etag: &str) -> String {
    format!("{}-gzip\"", etag.trim_end_matches('"'))
}

/// What `If-Match` asks of the object that a request would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// It was not sent.
    Absent,
    /// `*`: whatever there is.
    Any,
    /// One of these versions. What is no entity tag of ours names none, and so admits nothing.
    Versions(Vec<i64>),
}

impl IfMatch {
    /// What `request` says.
    #[must_use]
    pub fn read(request: &Request) -> Self {
        Self::from_headers(&request.headers)
    }

    fn from_headers(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(header::IF_MATCH).iter().peekable();
        if lines.peek().is_none() {
            return Self::Absent;
        }
        let mut versions = Vec::new();
        for line in lines {
            for tag in line.to_str().unwrap_or_default().split(',').map(str::trim) {
                if tag == "*" {
                    return Self::Any;
                }
                versions.extend(version(tag));
            }
        }
        Self::Versions(versions)
    }

    /// Whether an object of `version` may be changed.
    #[must_use]
    pub fn admits(&self, version: i64) -> bool {
        match self {
            Self::Absent | Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }

    /// Whether the client says which versions it has seen: `*` does not.
    #[must_use]
    pub fn names_versions(&self) -> bool {
        matches!(self, Self::Versions(_))
    }
}

/// Whether `If-None-Match` says that the client has the representation with this entity tag already: 304 then.
#[must_use]
pub fn is_known(request: &Request, etag: &str) -> bool {
    let lines = request.headers.get_all(header::IF_NONE_MATCH).iter();
    knows(lines.filter_map(|line| line.to_str().ok()), etag)
}

/// The same of the lines of `If-None-Match`. Weakly: what a proxy on the way has encoded or marked as weak is the same
/// to a reader. Tags of ours hold no comma.
pub fn knows<'a>(mut lines: impl Iterator<Item = &'a str>, etag: &str) -> bool {
    let is_it = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
    lines.any(|line| line.split(',').map(str::trim).any(is_it))
}

/// The version that a strong entity tag of ours names.
fn version(tag: &str) -> Option<i64> {
    let text = tag.strip_prefix('"')?.strip_suffix('"')?;
    let version: i64 = text.parse().ok()?;
    // One version has one tag: "+3" and "03" are none.
    (version.to_string() == text).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn if_match(lines: &[&'static str]) -> IfMatch {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_static(line));
        }
        IfMatch::from_headers(&headers)
    }

    #[test]
    fn if_match_admits_what_it_names() {
        assert!(if_match(&[]).admits(3));
        assert!(if_match(&["*"]).admits(3));
        assert!(if_match(&["\"2\", \"3\""]).admits(3));
        assert!(if_match(&["\"2\"", "\"3\""]).admits(3));
        assert!(!if_match(&["\"2\""]).admits(3));
    }

    #[test]
    fn what_is_no_strong_tag_of_ours_admits_nothing() {
        for line in ["", "3", "W/\"3\"", "\"03\"", "\"+3\"", "\"x\"", "\"3"] {
            assert!(!if_match(&[line]).admits(3), "{line}");
        }
        let mut headers = HeaderMap::new();
        headers.append(header::IF_MATCH, HeaderValue::from_bytes(b"\"\xff\"").unwrap());
        assert!(!IfMatch::from_headers(&headers).admits(3));
    }

    #[test]
    fn a_star_names_no_version() {
        assert!(!if_match(&["*"]).names_versions());
        assert!(!if_match(&[]).names_versions());
        assert!(if_match(&["\"3\""]).names_versions());
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let etag = etag(3);
        for line in ["*", "\"3\"", "W/\"3\"", "\"1\", \"3\"", "\"1\",W/\"3\""] {
            assert!(knows([line].into_iter(), &etag), "{line}");
        }
        for line in ["", "3", "\"2\"", "\"03\"", "w/\"3\"", "\"3", "\"*\""] {
            assert!(!knows([line].into_iter(), &etag), "{line}");
        }
        assert!(!knows([].into_iter(), &etag));
    }

    #[test]
    fn a_body_has_a_tag_of_its_own_that_is_no_version() {
        let etag = etag_of_body(b"[]");
        assert_eq!(etag, etag_of_body(b"[]"));
        assert_ne!(etag, etag_of_body(b"[ ]"));
        assert_eq!(etag.len(), 24);
        assert_eq!(version(&etag), None);
        assert!(HeaderValue::from_str(&etag).is_ok() && !etag.contains(','));
        assert!(knows([&*etag].into_iter(), &etag));
    }

    #[test]
    fn the_same_in_gzip_has_another_tag() {
        let etag = etag_of_body(b"[]");
        let in_gzip = etag_in_gzip(&etag);
        assert_eq!(etag_in_gzip("\"x\""), "\"x-gzip\"");
        assert!(knows([&*in_gzip].into_iter(), &in_gzip));
        assert!(!knows([&*in_gzip].into_iter(), &etag));
        assert!(!knows([&*etag].into_iter(), &in_gzip));
    }

    proptest! {
        #[test]
        fn no_header_does_harm_and_only_a_version_that_is_named_is_admitted(
            lines in proptest::collection::vec("[ -~\u{80}-\u{ff}]{0,20}", 1..3),
            version in any::<i64>(),
        ) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(header::IF_MATCH, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let has_star = lines.iter().any(|line| line.contains('*'));
            let has_version = lines.iter().any(|line| line.contains(&version.to_string()));
            prop_assert!(!IfMatch::from_headers(&headers).admits(version) || has_star || has_version);
            let _ = knows(lines.iter().map(String::as_str), &etag(version));
        }

        #[test]
        fn every_version_has_a_tag_that_names_it(version in any::<i64>()) {
            prop_assert_eq!(self::version(&etag(version)), Some(version));
        }
    }
}
