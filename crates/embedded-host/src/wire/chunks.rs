//! Where a chunked body ends (RFC 9112, section 7.1). Its bytes go on as they came; hyper reads them. What is taken here
//! is what hyper takes, and less: no space about a chunk's size, no control characters in its extensions.

/// How much of extensions and trailers a body may have; hyper's own bound.
const MAX_EXTRA_BYTES: usize = 16 * 1024;
/// 2^60 bytes are more than any body has.
const MAX_SIZE_DIGITS: usize = 15;

/// The bytes are no chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// What there was of a chunked body.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    /// Bytes of extensions and trailers so far.
    extra: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size {
        size: u64,
        digits: usize,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the beginning of a line after the last chunk.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

const START: State = State::Size { size: 0, digits: 0 };

impl Chunks {
    pub(crate) fn new() -> Chunks {
        Chunks {
            state: START,
            extra: 0,
        }
    }

    /// How many of these bytes belong to the body, and whether it ends with them.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<(usize, bool), Broken> {
        let mut used = 0;
        while let Some(byte) = bytes.get(used) {
            if let State::Data { left } = self.state {
                let there = bytes.len() - used;
                let taken = usize::try_from(left).map_or(there, |left| left.min(there));
                used += taken;
                self.state = match left - taken as u64 {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                continue;
            }
            used += 1;
            match self.step(*byte)? {
                Some(state) => self.state = state,
                None => return Ok((used, true)),
            }
        }
        Ok((used, false))
    }

    /// `None` at the end of the body.
    fn step(&mut self, byte: u8) -> Result<Option<State>, Broken> {
        let next = match (self.state, byte) {
            (State::Size { size, digits }, digit)
                if digit.is_ascii_hexdigit() && digits < MAX_SIZE_DIGITS =>
            {
                let digit = char::from(digit).to_digit(16).ok_or(Broken)?;
                State::Size {
                    size: size * 16 + u64::from(digit),
                    digits: digits + 1,
                }
            }
            (State::Size { size, digits: 1.. }, b';') => State::Extension { size },
            (State::Size { size, digits: 1.. } | State::Extension { size }, b'\r') => State::SizeLf { size },
            (State::Extension { size }, byte) if is_text(byte) => {
                self.count()?;
                State::Extension { size }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => START,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => return Ok(None),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, byte) if is_text(byte) => {
                self.count()?;
                State::Trailer
            }
            _ => return Err(Broken),
        };
        Ok(Some(next))
    }

    fn count(&mut self) -> Result<(), Broken> {
        self.extra += 1;
        (self.extra < MAX_EXTRA_BYTES).then_some(()).ok_or(Broken)
    }
}

/// What may stand in a field's value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(body: &[u8]) -> Result<(usize, bool), Broken> {
        Chunks::new().scan(body)
    }

    #[test]
    fn a_body_ends_with_its_last_chunk_and_trailers() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "00A\r\n0123456789\r\n000\r\n\r\n",
            "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n",
            "1\r\na\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\n",
        ] {
            let with_next = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(scan(with_next.as_bytes()), Ok((body.len(), true)), "{body:?}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\na",
            "0x1\r\na",
            " 1\r\na",
            "1 \r\na",
            "1\na",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rb",
            "1;\n\r\n",
            "1;\0\r\n",
            ";a\r\n",
            "10000000000000000\r\n",
            "0\r\n\n",
            "0\r\nx: 1\n\r\n",
        ] {
            assert_eq!(scan(body.as_bytes()), Err(Broken), "{body:?}");
        }
        let endless = format!("1;{}", "x".repeat(MAX_EXTRA_BYTES));
        assert_eq!(scan(endless.as_bytes()), Err(Broken));
    }

    proptest! {
        #[test]
        fn what_was_cut_into_chunks_is_found_whole_however_it_arrives(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            piece in 1_usize..50,
            next in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let length = body.len();
            body.extend(next);
            let (mut scanned, mut end) = (Chunks::new(), None);
            for (index, piece_bytes) in body.chunks(piece).enumerate() {
                let (used, is_end) = scanned.scan(piece_bytes).unwrap();
                if is_end {
                    end = Some(index * piece + used);
                    break;
                }
                prop_assert_eq!(used, piece_bytes.len());
            }
            prop_assert_eq!(end, Some(length));
        }

        #[test]
        fn no_bytes_do_harm(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((used, _)) = scan(&body) {
                prop_assert!(used <= body.len());
            }
        }
    }
}
