//! Content codings: whether a client takes gzip (RFC 9110, section 12.5.3), and gzip itself. For what is everybody's
//! alone: where a secret and a client's words are compressed together, the length of the answer tells of the secret.

use crate::request::Request;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header;
use std::io::Write as _;

/// Below this many bytes an answer is one packet anyhow.
pub const MIN_BYTES: usize = 1024;

/// Whether the client would as soon have gzip as the bytes as they are.
#[must_use]
pub fn takes_gzip(request: &Request) -> bool {
    let lines = request.headers.get_all(header::ACCEPT_ENCODING).iter();
    prefers_gzip(lines.filter_map(|line| line.to_str().ok()))
}

/// The same of the lines of `Accept-Encoding`.
pub fn prefers_gzip<'a>(lines: impl Iterator<Item = &'a str>) -> bool {
    let (mut gzip, mut others, mut identity) = (None, None, None);
    for coding in lines.flat_map(|line| line.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight(parameters);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "*" => others = Some(weight),
            "identity" => identity = Some(weight),
            _ => {}
        }
    }
    let gzip = gzip.or(others).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

/// From 0, not at all, to 1. What cannot be read is 0: everybody takes the bytes as they are.
fn weight(parameters: &str) -> f32 {
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return 1.0;
    }
    let value = parameters
        .strip_prefix("q=")
        .or_else(|| parameters.strip_prefix("Q="));
    let weight = value.and_then(|value| value.trim().parse().ok());
    weight
        .filter(|weight| (0.0..=1.0).contains(weight))
        .unwrap_or(0.0)
}

/// `body` in gzip. Quickly: most of what there is to gain is gained so.
///
/// # Errors
/// Never: the memory takes all that is written to it.
pub fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn who_takes_gzip_says_so() {
        for line in [
            "gzip",
            "GZIP",
            "x-gzip",
            "deflate, gzip;q=0.5",
            "gzip ; q=0.001",
            "br, *",
            "*;q=0.1",
            "gzip, identity",
            "gzip;q=0.5, identity;q=0.5",
        ] {
            assert!(prefers_gzip([line].into_iter()), "{line}");
        }
        assert!(prefers_gzip(["br", "gzip"].into_iter()));
        for line in [
            "",
            "br",
            "gzip;q=0",
            "gzip;q=0.000",
            "*, gzip;q=0",
            "*;q=0",
            "gzip;q=0.5, identity",
            "gzip;q=x",
            "gzip;q=-1",
            "gzip;q=2",
            "gzip;q=NaN",
            "gzipped",
        ] {
            assert!(!prefers_gzip([line].into_iter()), "{line}");
        }
        assert!(!prefers_gzip([].into_iter()));
    }

    #[test]
    fn what_is_compressed_is_the_same_afterwards() {
        let body = "{\"name\": \"Red Rose\"}, ".repeat(100);
        let gzipped = gzip(body.as_bytes()).unwrap();
        assert!(gzipped.len() * 4 < body.len());
        let mut read = String::new();
        flate2::read::GzDecoder::new(&gzipped[..])
            .read_to_string(&mut read)
            .unwrap();
        assert_eq!(read, body);
    }
}
