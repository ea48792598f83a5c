//! What arrived of a connection, and how much of it may go on: a whole head that holds, then its body, and nothing of
//! the next request until this one is answered. No I/O, no clock.

use bytes::{Buf, BytesMut};

use super::chunks::{Broken, Chunks};
use super::head::{Body, Bounds, Head};
use crate::problem::Problem;

/// How much is read at a time, at least.
const READ_BYTES: usize = 4096;

/// Where in a request the next byte is.
#[derive(Debug)]
enum Phase {
    Head(Head),
    Length(u64),
    Chunked(Chunks),
}

/// What became of the bytes that have arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing new may go on until more arrives, or the request before is answered.
    Waits,
    /// A request has begun: its head may go on.
    Begun,
}

/// Why no more bytes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// What came where a head should be is none.
    Head(Problem),
    /// The body of the request that is being answered cannot be read.
    Body,
}

#[derive(Debug)]
pub(crate) struct Framing {
    bounds: Bounds,
    bytes: BytesMut,
    /// So many of them may go on.
    approved: usize,
    phase: Phase,
    /// An empty line before this head was passed over (RFC 9112, section 2.2).
    passed_over: bool,
}

impl Framing {
    pub(crate) fn new(bounds: Bounds) -> Framing {
        Framing {
            bounds,
            bytes: BytesMut::new(),
            approved: 0,
            phase: Phase::Head(Head::default()),
            passed_over: false,
        }
    }

    /// Where arriving bytes are put.
    pub(crate) fn arriving(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Makes room for what arrives next.
    pub(crate) fn make_room(&mut self) {
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES {
            self.bytes.reserve(2 * READ_BYTES);
        }
    }

    /// Whether all bytes that have arrived have gone on.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether so much has arrived that it is to be judged before more is read.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() > self.bounds.head_bytes
    }

    /// Whether the body of the last request is here, or was handed on, to its end.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.phase, Phase::Head(_)) && self.approved == 0
    }

    /// What may go on.
    pub(crate) fn approved(&self) -> &[u8] {
        self.bytes.get(..self.approved).unwrap_or_default()
    }

    /// So many of the approved bytes have gone on.
    pub(crate) fn handed_on(&mut self, length: usize) {
        let length = length.min(self.approved);
        self.bytes.advance(length);
        self.approved -= length;
    }

    /// Judges what has arrived. A new request may begin only if `may_begin`.
    pub(crate) fn advance(&mut self, may_begin: bool) -> Result<Progress, Refused> {
        let arrived = self.bytes.get(self.approved..).unwrap_or_default();
        match &mut self.phase {
            Phase::Head(_) if !may_begin || self.approved > 0 => Ok(Progress::Waits),
            Phase::Head(head) => {
                if !self.passed_over && arrived.starts_with(b"\r\n") {
                    self.bytes.advance(2);
                    self.passed_over = true;
                    return self.advance(may_begin);
                }
                // Half of an empty line says nothing yet.
                if !self.passed_over && arrived == b"\r" {
                    return Ok(Progress::Waits);
                }
                let Some((length, body)) = head.scan(arrived, self.bounds).map_err(Refused::Head)? else {
                    return Ok(Progress::Waits);
                };
                self.approved = length;
                self.passed_over = false;
                self.phase = match body {
                    Body::Length(0) => Phase::Head(Head::default()),
                    Body::Length(length) => Phase::Length(length),
                    Body::Chunked => Phase::Chunked(Chunks::new()),
                };
                Ok(Progress::Begun)
            }
            Phase::Length(left) => {
                let taken = usize::try_from(*left).map_or(arrived.len(), |left| left.min(arrived.len()));
                self.approved += taken;
                *left -= taken as u64;
                if *left == 0 {
                    self.phase = Phase::Head(Head::default());
                }
                Ok(Progress::Waits)
            }
            Phase::Chunked(chunks) => {
                let (taken, is_end) = chunks.scan(arrived).map_err(|Broken| Refused::Body)?;
                self.approved += taken;
                if is_end {
                    self.phase = Phase::Head(Head::default());
                }
                Ok(Progress::Waits)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        line_bytes: 200,
        head_bytes: 2000,
    };

    /// Hands over the bytes piece by piece, as a server would that answers each request as soon as it is whole; gives
    /// what went on, request by request.
    fn requests(bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, Refused> {
        let mut framing = Framing::new(BOUNDS);
        let mut requests: Vec<Vec<u8>> = Vec::new();
        for piece in bytes.chunks(piece) {
            framing.arriving().extend_from_slice(piece);
            loop {
                let progress = framing.advance(framing.is_between_requests())?;
                if progress == Progress::Begun {
                    requests.push(Vec::new());
                }
                let length = framing.approved().len();
                if length == 0 {
                    break;
                }
                requests.last_mut().unwrap().extend(framing.approved());
                framing.handed_on(length);
            }
        }
        Ok(requests)
    }

    #[test]
    fn the_next_request_waits_for_the_answer_to_this_one() {
        let mut framing = Framing::new(BOUNDS);
        let one = b"GET /1 HTTP/1.1\r\nhost: h\r\n\r\n";
        framing.arriving().extend_from_slice(one);
        framing
            .arriving()
            .extend_from_slice(b"GET /2 HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(framing.advance(true), Ok(Progress::Begun));
        assert_eq!(framing.approved(), one);
        framing.handed_on(one.len());
        assert_eq!(framing.advance(false), Ok(Progress::Waits));
        assert!(framing.approved().is_empty());
        assert_eq!(framing.advance(true), Ok(Progress::Begun));
    }

    #[test]
    fn one_empty_line_before_a_head_is_passed_over_and_no_second_one() {
        let request = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
        for piece in [1, 1000] {
            let found = requests(format!("\r\n{request}\r\n{request}").as_bytes(), piece).unwrap();
            assert_eq!(found, [request.as_bytes(), request.as_bytes()]);
            assert!(requests(format!("\r\n\r\n{request}").as_bytes(), piece).is_err());
        }
    }

    #[test]
    fn a_broken_chunk_ends_it() {
        let bytes = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nx\r\n";
        assert_eq!(requests(bytes, 1000), Err(Refused::Body));
    }

    fn a_request() -> impl Strategy<Value = Vec<u8>> {
        let body = proptest::collection::vec(any::<u8>(), 0..60);
        (body, any::<bool>(), "[a-z]{0,5}").prop_map(|(body, chunked, path)| {
            let mut request = format!("POST /{path} HTTP/1.1\r\nhost: h\r\n").into_bytes();
            if chunked {
                request.extend(b"transfer-encoding: chunked\r\n\r\n");
                for chunk in body.chunks(7) {
                    request.extend(format!("{:X};x\r\n", chunk.len()).into_bytes());
                    request.extend(chunk);
                    request.extend(b"\r\n");
                }
                request.extend(b"0\r\n\r\n");
            } else {
                request.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
                request.extend(body);
            }
            request
        })
    }

    proptest! {
        #[test]
        fn requests_are_told_apart_however_they_arrive(
            sent in proptest::collection::vec(a_request(), 1..5),
            piece in 1_usize..300,
        ) {
            prop_assert_eq!(requests(&sent.concat(), piece), Ok(sent));
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50) {
            let _ = requests(&bytes, piece);
        }
    }
}
