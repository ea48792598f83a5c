//! The header fields that keep a browser from doing more with an answer than it should. An answer that has one of them
//! already keeps its own.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Name and value of each. Answers are data, not pages; they may be somebody's own, so nobody stores them.
pub const FIELDS: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// Adds those that are missing.
pub fn complete(headers: &mut HeaderMap) {
    for (name, value) in FIELDS {
        headers
            .entry(HeaderName::from_static(name))
            .or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_says_itself_stands() {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
        complete(&mut headers);
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers.len(), FIELDS.len());
    }
}
