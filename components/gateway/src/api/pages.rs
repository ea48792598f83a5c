//! What the gateway shows of the shop to people and programs: the OpenAPI document of all services, and a reader for
//! it. All of it is part of the component: a reader's browser asks nobody else.

use crate::domain::{Field, Page};
use http::{HeaderName, header};
use service::conditional::knows;
use service::encoding::prefers_gzip;
use service::{Fixed, Response};

static DESCRIPTION: Fixed = Fixed::new("application/json", include_bytes!("../../openapi.json"));
static READER: Fixed = Fixed::new("text/html; charset=utf-8", include_bytes!("reader/reader.html"));
static SCRIPT: Fixed = Fixed::new(
    "text/javascript; charset=utf-8",
    include_bytes!("reader/reader.js"),
);
static STYLE: Fixed = Fixed::new("text/css; charset=utf-8", include_bytes!("reader/reader.css"));

/// What the reader's page may do: load its own script and style and ask this shop. Whatever else got into it, a
/// browser would neither run nor fetch nor send.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The page, or 304 if the request's `fields` say that it is known.
pub(super) fn answer(page: Page, fields: &[Field]) -> Response {
    let lines = |name: HeaderName| {
        fields
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_str()))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
    };
    let file = match page {
        Page::Description => &DESCRIPTION,
        Page::Reader => &READER,
        Page::ReaderScript => &SCRIPT,
        Page::ReaderStyle => &STYLE,
    };
    let answer = file
        .unless_known(prefers_gzip(lines(header::ACCEPT_ENCODING)), |etag| {
            knows(lines(header::IF_NONE_MATCH), etag)
        })
        .with_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    match page {
        Page::Reader => answer
            .with_header(header::CONTENT_SECURITY_POLICY, POLICY)
            .with_header(header::REFERRER_POLICY, "no-referrer")
            .with_header(
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        Page::Description | Page::ReaderScript | Page::ReaderStyle => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn every_page_is_sent_and_then_known() {
        for page in [
            Page::Description,
            Page::Reader,
            Page::ReaderScript,
            Page::ReaderStyle,
        ] {
            let first = answer(page, &[]);
            assert_eq!(first.status(), StatusCode::OK);
            assert!(!first.body().is_empty(), "{page:?}");
            let etag = first.headers()[header::ETAG].as_bytes().to_vec();
            let again = answer(page, &[("If-None-Match".to_owned(), etag)]);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{page:?}");
            let takes_gzip = ("accept-encoding".to_owned(), b"gzip".to_vec());
            let gzipped = answer(page, &[takes_gzip]);
            assert_eq!(gzipped.headers()[header::CONTENT_ENCODING], "gzip", "{page:?}");
            assert!(gzipped.body().len() < first.body().len(), "{page:?}");
        }
    }

    #[test]
    fn the_reader_names_nobody_but_this_shop_and_has_no_script_of_its_own() {
        let html = include_str!("reader/reader.html");
        let script = include_str!("reader/reader.js");
        let style = include_str!("reader/reader.css");
        for (name, text) in [("html", html), ("script", script), ("style", style)] {
            for outside in ["http://", "https://", "src=\"//", "@import", "url("] {
                assert!(!text.contains(outside), "{name} has {outside}");
            }
        }
        for inline in ["<style", "style=", "onclick", "onload", "javascript:", "<script>"] {
            assert!(!html.contains(inline), "{inline}");
        }
        // Text from a description is text, whatever it says.
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
        ] {
            assert!(!script.contains(sink), "{sink}");
        }
    }
}
