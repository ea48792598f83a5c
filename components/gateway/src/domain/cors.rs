//! Which pages of other origins may read the shop's answers (CORS), by a list of origins. Access is by bearer token,
//! never by cookie, so credentials are allowed to nobody.

use super::Field;
use http::Uri;
use std::str::FromStr;

/// The origins that may. None by default, and then no answer says a word about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

/// A text that is no list of origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoOrigins;

impl Origins {
    /// How an operator writes them.
    pub const SPELLING: &str = "is no list of origins like `https://shop.example http://localhost:5173`";
}

impl FromStr for Origins {
    type Err = NoOrigins;

    fn from_str(text: &str) -> Result<Self, NoOrigins> {
        let origins = text
            .split(|char: char| char == ',' || char.is_whitespace())
            .filter(|origin| !origin.is_empty());
        origins
            .map(|origin| is_origin(origin).then(|| origin.to_owned()).ok_or(NoOrigins))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Whether a browser could send this as `Origin`; neither `*` nor `null` may be listed.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let Some(authority) = uri.authority() else {
        return false;
    };
    let scheme = uri.scheme_str().unwrap_or_default();
    let default_port = if scheme == "https" { 443 } else { 80 };
    matches!(scheme, "http" | "https")
        && !authority.as_str().contains(['@', '*'])
        && authority.port_u16() != Some(default_port)
        && text == format!("{scheme}://{authority}").to_ascii_lowercase()
}

/// What a preflight asks to do and the shop allows.
const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE";
const REQUEST_FIELDS: &str =
    "authorization, content-type, idempotency-key, if-match, if-none-match, traceparent, x-request-id";

/// The fields that a page may read beyond those that it may always.
const ANSWER_FIELDS: &str = "deprecation, etag, idempotency-replayed, link, location, ratelimit, ratelimit-policy, \
    retry-after, sunset, www-authenticate, x-request-id";

/// How long a browser may remember a preflight, in seconds; more than this none does.
const MAX_AGE: &str = "7200";

impl Origins {
    fn admit(&self, origin: &[u8]) -> bool {
        self.0.iter().any(|known| known.as_bytes() == origin)
    }

    /// What every answer to a request of this origin says.
    #[must_use]
    pub fn answer_fields(&self, origin: Option<&[u8]>) -> Vec<Field> {
        if self.0.is_empty() {
            return Vec::new();
        }
        // The answer to another origin is another, also where this one is allowed nothing.
        let mut fields = vec![field("vary", "origin")];
        if let Some(origin) = origin.filter(|origin| self.admit(origin)) {
            fields.push(("access-control-allow-origin".to_owned(), origin.to_vec()));
            fields.push(field("access-control-expose-headers", ANSWER_FIELDS));
        }
        fields
    }

    /// What the answer to a preflight of this origin says beyond that; none if it is not allowed.
    #[must_use]
    pub fn preflight_fields(&self, origin: &[u8]) -> Option<[Field; 4]> {
        self.admit(origin).then(|| {
            [
                field("access-control-allow-methods", METHODS),
                field("access-control-allow-headers", REQUEST_FIELDS),
                field("access-control-max-age", MAX_AGE),
                field(
                    "vary",
                    "access-control-request-method, access-control-request-headers",
                ),
            ]
        })
    }
}

fn field(name: &str, value: &str) -> Field {
    (name.to_owned(), value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(fields: &[Field]) -> Vec<&str> {
        fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn origins_are_listed_as_browsers_send_them() {
        let list = "https://shop.example, http://localhost:5173\n https://[::1]:8443 ";
        let origins: Origins = list.parse().unwrap();
        assert_eq!(
            origins.0,
            [
                "https://shop.example",
                "http://localhost:5173",
                "https://[::1]:8443"
            ]
        );
        for text in [
            "*",
            "null",
            "shop.example",
            "https://*.shop.example",
            "https://shop.example/",
            "https://shop.example/x",
            "https://shop.example:443",
            "http://shop.example:80",
            "https://Shop.example",
            "https://user@shop.example",
            "ftp://shop.example",
            "https://a.example https://",
        ] {
            assert_eq!(Origins::from_str(text), Err(NoOrigins), "{text}");
        }
    }

    #[test]
    fn without_a_list_no_answer_says_a_word() {
        let none: Origins = "".parse().unwrap();
        assert_eq!(none.answer_fields(Some(b"https://shop.example")), []);
        assert_eq!(none.preflight_fields(b"https://shop.example"), None);
    }

    #[test]
    fn a_listed_origin_is_named_and_any_other_is_not() {
        let origins: Origins = "https://shop.example".parse().unwrap();
        let told = origins.answer_fields(Some(b"https://shop.example"));
        assert_eq!(
            names(&told),
            [
                "vary",
                "access-control-allow-origin",
                "access-control-expose-headers"
            ]
        );
        assert_eq!(told[1].1, b"https://shop.example");
        assert!(origins.preflight_fields(b"https://shop.example").is_some());
        for origin in [
            None,
            Some("https://evil.example"),
            Some("https://shop.example.evil"),
            Some("http://shop.example"),
            Some("null"),
            Some(""),
        ] {
            let origin = origin.map(str::as_bytes);
            assert_eq!(names(&origins.answer_fields(origin)), ["vary"]);
            assert_eq!(origin.and_then(|origin| origins.preflight_fields(origin)), None);
        }
    }
}
