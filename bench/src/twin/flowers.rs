//! `GET /catalog/flowers/{id}`, from Redis: what the catalog keeps there is a line about the entry, then the body.

use super::{Failure, Twin, unavailable};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use redis::AsyncCommands as _;
use std::sync::Arc;
use uuid::Uuid;

pub(super) async fn show(
    State(twin): State<Arc<Twin>>,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse, Failure> {
    let mut redis = twin.redis.clone();
    let value: Option<Vec<u8>> = redis.get(format!("flower:{id}")).await.map_err(unavailable)?;
    let value = value.ok_or(Failure::NotFound)?;
    let (etag, body) = read(value).ok_or(Failure::NotFound)?;
    Ok((
        [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::ETAG, etag),
        ],
        body,
    ))
}

/// The entity tag and the body of an entry `<key> <version> <checksum>\n<body>`.
fn read(value: Vec<u8>) -> Option<(String, Bytes)> {
    let end = value.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(value.get(..end)?).ok()?;
    let etag = format!("\"{}\"", head.split(' ').nth(1)?);
    Some((etag, Bytes::from(value).slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line_about_it_and_the_body() {
        let (etag, body) = read(b"flower:1 3 00ff\n{\"id\": \"1\"}\n".to_vec()).unwrap();
        assert_eq!(etag, "\"3\"");
        assert_eq!(body, "{\"id\": \"1\"}\n");
    }

    #[test]
    fn a_lease_is_no_entry() {
        assert_eq!(read(b"lease:1".to_vec()), None);
    }
}
