//! Answers that are the same for everybody: a file that is part of the component, with an entity tag made of its bytes,
//! and in gzip for who takes that. Each form has a tag of its own.

use crate::conditional::{etag_in_gzip, etag_of_body, is_known};
use crate::encoding::{self, takes_gzip};
use crate::request::Request;
use crate::response::Response;
use crate::router::Answer;
use bytes::Bytes;
use http::{StatusCode, header};
use std::sync::OnceLock;

/// A file that is served as it is.
pub struct Fixed {
    content_type: &'static str,
    body: &'static [u8],
    /// Made at the first request: hashing at the start would delay every other one.
    etag: OnceLock<String>,
    /// Made when the first client is sent it.
    gzipped: OnceLock<Option<Bytes>>,
}

impl Fixed {
    #[must_use]
    pub const fn new(content_type: &'static str, body: &'static [u8]) -> Self {
        Self {
            content_type,
            body,
            etag: OnceLock::new(),
            gzipped: OnceLock::new(),
        }
    }

    /// Answers `request`.
    ///
    /// # Errors
    /// Never: it is an [`Answer`] so that a route may end with it.
    pub fn answer(&self, request: &Request) -> Answer {
        Ok(self.unless_known(takes_gzip(request), |etag| is_known(request, etag)))
    }

    /// The file, or 304 if the client says of the tag of what it would be sent that it `is_known`.
    pub fn unless_known(&self, takes_gzip: bool, is_known: impl FnOnce(&str) -> bool) -> Response {
        let has_two_forms = self.body.len() >= encoding::MIN_BYTES;
        let in_gzip = has_two_forms && takes_gzip;
        let etag = self.etag.get_or_init(|| etag_of_body(self.body));
        let etag = if in_gzip { &etag_in_gzip(etag) } else { etag };
        let response = if is_known(etag) {
            Response::empty(StatusCode::NOT_MODIFIED)
        } else {
            self.whole(in_gzip)
        };
        // Kept by whoever likes, and asked for anew each time, which costs a 304: a new release is seen at once.
        let response = response
            .with_header(header::ETAG, etag)
            .with_header(header::CACHE_CONTROL, "no-cache");
        if has_two_forms {
            response.with_header(header::VARY, "accept-encoding")
        } else {
            response
        }
    }

    fn whole(&self, in_gzip: bool) -> Response {
        // Memory takes all that is written to it: if gzip is asked for, it is there.
        if in_gzip && let Some(gzipped) = self.gzipped() {
            Response::bytes(StatusCode::OK, self.content_type, gzipped)
                .with_header(header::CONTENT_ENCODING, "gzip")
        } else {
            Response::bytes(StatusCode::OK, self.content_type, Bytes::from_static(self.body))
        }
    }

    fn gzipped(&self) -> Option<Bytes> {
        let gzipped = self.gzipped.get_or_init(|| encoding::gzip(self.body).ok());
        gzipped.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditional::knows;
    use std::io::Read as _;

    const LONG: &[u8] = &[b'r'; encoding::MIN_BYTES];

    fn ask(file: &Fixed, takes_gzip: bool, line: &str) -> Response {
        file.unless_known(takes_gzip, |etag| knows([line].into_iter(), etag))
    }

    fn tag(response: &Response) -> String {
        response.headers()[header::ETAG].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_file_is_sent_once_to_whoever_names_its_tag_the_next_time() {
        let file = Fixed::new("text/plain", b"roses");
        let first = ask(&file, false, "");
        assert_eq!(
            (first.status(), &first.body()[..]),
            (StatusCode::OK, &b"roses"[..])
        );
        let etag = tag(&first);
        for line in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let again = ask(&file, false, &line);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{line}");
            assert!(again.body().is_empty());
            assert_eq!(tag(&again), etag);
        }
        let other = ask(&Fixed::new("text/plain", b"tulips"), false, &etag);
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[test]
    fn a_long_file_has_two_forms_and_each_its_tag() {
        let file = Fixed::new("text/plain", LONG);
        let (plain, gzipped) = (ask(&file, false, ""), ask(&file, true, ""));
        assert_eq!(&plain.body()[..], LONG);
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(gzipped.headers()[header::CONTENT_ENCODING], "gzip");
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&gzipped.body()[..])
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, LONG);
        assert_ne!(tag(&plain), tag(&gzipped));
        for (takes_gzip, form, other) in [(false, &plain, &gzipped), (true, &gzipped, &plain)] {
            assert_eq!(form.headers()[header::VARY], "accept-encoding");
            let again = ask(&file, takes_gzip, &tag(form));
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(again.headers()[header::VARY], "accept-encoding");
            assert!(!again.headers().contains_key(header::CONTENT_ENCODING));
            let unknown = ask(&file, takes_gzip, &tag(other));
            assert_eq!((unknown.status(), unknown.body()), (StatusCode::OK, form.body()));
        }
    }

    #[test]
    fn a_short_file_is_sent_as_it_is() {
        let file = Fixed::new("text/plain", &LONG[1..]);
        let answer = ask(&file, true, "");
        assert_eq!(&answer.body()[..], &LONG[1..]);
        for name in [header::CONTENT_ENCODING, header::VARY] {
            assert!(!answer.headers().contains_key(name));
        }
        assert_eq!(
            ask(&file, false, &tag(&answer)).status(),
            StatusCode::NOT_MODIFIED
        );
    }
}
