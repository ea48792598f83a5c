//! The head of a request: where it ends, whether it is one, and how its body is delimited (RFC 9112). What the RFC lets
//! a server repair is refused.

use http::{HeaderName, Uri, uri::Authority};

use crate::problem::Problem;

/// No client of an HTTP interface sends as many; hyper's own bound.
const MAX_FIELDS: usize = 100;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of the first line; then 414.
    pub(crate) line_bytes: usize,
    /// Of all of it; then 431.
    pub(crate) head_bytes: usize,
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
}

/// What there is of a head that is arriving.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// So many bytes were looked at.
    seen: usize,
    /// Where the line begins that is arriving.
    line_start: usize,
}

impl Head {
    /// Looks at the bytes of a head, all that have arrived of it. Gives the head's length and how its body is delimited,
    /// or `None` until it is whole.
    pub(crate) fn scan(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<(usize, Body)>, Problem> {
        while let Some(found) = bytes.iter().skip(self.seen).position(|byte| *byte == b'\n') {
            let end = self.seen + found;
            self.check_size(end + 1, bounds)?;
            let line = bytes.get(self.line_start..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(Problem::malformed("A line of the head does not end in CR LF."));
            };
            self.seen = end + 1;
            self.line_start = self.seen;
            if line.is_empty() {
                let body = read(bytes.get(..self.seen).unwrap_or_default())?;
                return Ok(Some((self.seen, body)));
            }
        }
        self.seen = bytes.len();
        self.check_size(self.seen, bounds)?;
        Ok(None)
    }

    /// Whether a head may have so many bytes, those of the line that is arriving included.
    fn check_size(&self, length: usize, bounds: Bounds) -> Result<(), Problem> {
        if self.line_start == 0 && length > bounds.line_bytes + "\r\n".len() {
            return Err(Problem::TARGET_TOO_LONG);
        }
        if length > bounds.head_bytes {
            return Err(Problem::HEAD_TOO_LARGE);
        }
        Ok(())
    }
}

/// Reads a whole head.
fn read(head: &[u8]) -> Result<Body, Problem> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Problem::malformed("The head cannot be read.")),
        Err(error) => return Err(unreadable(error)),
    }
    let is_1_1 = request.version == Some(1);
    let fields = Fields::of(request.headers)?;
    let authority = check_host(&fields, is_1_1)?;
    check_target(
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
        authority.as_ref(),
    )?;
    // An HTTP/1.0 client cannot wait for anything.
    if is_1_1 && fields.expects_something_else {
        return Err(Problem::EXPECTATION);
    }
    delimit(&fields, is_1_1)
}

fn unreadable(error: httparse::Error) -> Problem {
    match error {
        httparse::Error::TooManyHeaders => Problem::HEAD_TOO_LARGE,
        httparse::Error::Version => Problem::VERSION,
        httparse::Error::HeaderName => Problem::malformed("The name of a header is malformed."),
        httparse::Error::HeaderValue => Problem::malformed("The value of a header is malformed."),
        _ => Problem::malformed("The request line is malformed."),
    }
}

/// The fields that decide where a request goes and where it ends.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expects_something_else: bool,
}

impl<'a> Fields<'a> {
    fn of(headers: &[httparse::Header<'a>]) -> Result<Fields<'a>, Problem> {
        let mut fields = Fields::default();
        for header in headers {
            let is = |name: HeaderName| header.name.eq_ignore_ascii_case(name.as_str());
            let single = if is(http::header::HOST) {
                &mut fields.host
            } else if is(http::header::CONTENT_LENGTH) {
                &mut fields.content_length
            } else if is(http::header::TRANSFER_ENCODING) {
                &mut fields.transfer_encoding
            } else {
                if is(http::header::EXPECT) {
                    fields.expects_something_else |= !header.value.eq_ignore_ascii_case(b"100-continue");
                }
                continue;
            };
            if single.replace(header.value).is_some() {
                return Err(Problem::malformed(
                    "Host, Content-Length and Transfer-Encoding may stand once.",
                ));
            }
        }
        Ok(fields)
    }
}

fn check_host(fields: &Fields<'_>, is_1_1: bool) -> Result<Option<Authority>, Problem> {
    let Some(host) = fields.host else {
        return match is_1_1 {
            true => Err(Problem::malformed("The Host header is missing.")),
            false => Ok(None),
        };
    };
    match Authority::try_from(host) {
        Ok(authority) if !authority.as_str().contains('@') => Ok(Some(authority)),
        _ => Err(Problem::malformed("The Host header holds no host.")),
    }
}

/// The target is a path, or `http://` and the very host of the Host header, or `*` of OPTIONS.
fn check_target(method: &str, target: &str, host: Option<&Authority>) -> Result<(), Problem> {
    if method == "CONNECT" {
        return Err(Problem::NOT_IMPLEMENTED);
    }
    let no_target = Err(Problem::malformed("The request's target is malformed."));
    // A fragment would be dropped in silence.
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return no_target;
    }
    if target == "*" {
        return if method == "OPTIONS" { Ok(()) } else { no_target };
    }
    let Ok(uri) = target.parse::<Uri>() else {
        return no_target;
    };
    match (uri.scheme_str(), uri.authority()) {
        (None, None) if target.starts_with('/') => Ok(()),
        (Some("http"), Some(authority)) if host.is_none_or(|host| host == authority) => {
            match authority.as_str().contains('@') {
                true => no_target,
                false => Ok(()),
            }
        }
        (Some("http"), Some(_)) => Err(Problem::malformed(
            "The Host header contradicts the request's target.",
        )),
        _ => no_target,
    }
}

/// Where the body ends (RFC 9112, section 6): nothing that two servers could read in two ways is taken.
fn delimit(fields: &Fields<'_>, is_1_1: bool) -> Result<Body, Problem> {
    match (fields.content_length, fields.transfer_encoding) {
        (None, None) => Ok(Body::Length(0)),
        (Some(length), None) => match length_of(length) {
            Some(length) => Ok(Body::Length(length)),
            None => Err(Problem::malformed("Content-Length is no length.")),
        },
        (None, Some(_)) if !is_1_1 => Err(Problem::malformed("HTTP/1.0 has no Transfer-Encoding.")),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
        (None, Some(coding)) if ends_in_chunked(coding) => Err(Problem::NOT_IMPLEMENTED),
        (None, Some(_)) => Err(Problem::malformed("Transfer-Encoding does not end in chunked.")),
        (Some(_), Some(_)) => Err(Problem::malformed(
            "Content-Length and Transfer-Encoding exclude each other.",
        )),
    }
}

/// Digits alone: no sign, no list, no space.
fn length_of(value: &[u8]) -> Option<u64> {
    // Longer ones hold for no server alike.
    let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(value).ok()?.parse().ok())?
}

/// Whether there are other codings, but each of them once and `chunked` last.
fn ends_in_chunked(codings: &[u8]) -> bool {
    let mut codings = codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).rev();
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_other = |coding: &[u8]| {
        let is_token = !coding.is_empty() && coding.iter().all(u8::is_ascii_alphanumeric);
        is_token && !is_chunked(coding) && !coding.eq_ignore_ascii_case(b"identity")
    };
    codings.next().is_some_and(is_chunked) && codings.all(is_other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        line_bytes: 200,
        head_bytes: 2000,
    };

    fn scan(head: &str) -> Result<Option<(usize, Body)>, Problem> {
        Head::default().scan(head.as_bytes(), BOUNDS)
    }

    fn body(head: &str) -> Result<Body, Problem> {
        let found = scan(head)?;
        let (length, body) = found.unwrap_or_else(|| panic!("not whole: {head:?}"));
        assert_eq!(length, head.len());
        Ok(body)
    }

    #[test]
    fn a_head_says_where_its_body_ends() {
        for (fields, expected) in [
            ("", Body::Length(0)),
            ("content-length: 0\r\n", Body::Length(0)),
            ("Content-Length:\t5 \r\n", Body::Length(5)),
            ("TRANSFER-encoding: Chunked\r\n", Body::Chunked),
            ("expect: 100-Continue\r\ncontent-length: 5\r\n", Body::Length(5)),
        ] {
            let head = format!("POST /a?b HTTP/1.1\r\nhost: shop.test:80\r\n{fields}\r\n");
            assert_eq!(body(&head), Ok(expected), "{fields}");
        }
    }

    #[test]
    fn a_head_may_come_byte_by_byte() {
        let head = b"GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabcGET";
        let mut scanned = Head::default();
        let found = (1..=head.len()).find_map(|length| scanned.scan(&head[..length], BOUNDS).unwrap());
        assert_eq!(found, Some((head.len() - 6, Body::Length(3))));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_judged_alike_in_one_piece_and_byte_by_byte(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "[A-Z]{1,7} [/a-z*:#?]{1,9} HTTP/1.[0-2](\r\n|\n)((host|content-length|transfer-encoding|x): ?[0-9a-z, ]{0,9}(\r\n|\n)){0,5}(\r\n|\n)"
                    .prop_map(String::into_bytes),
            ]
        ) {
            let whole = Head::default().scan(&bytes, BOUNDS);
            let mut head = Head::default();
            let mut piecewise = Ok(None);
            for length in 0..=bytes.len() {
                piecewise = head.scan(&bytes[..length], BOUNDS);
                if piecewise != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(whole, piecewise);
            if let Ok(Some((length, _))) = whole {
                prop_assert!(bytes[..length].ends_with(b"\r\n\r\n"));
            }
        }
    }
}
