//! Speaking to a service as the bridge does: signed batches of events.

use crate::{Actor, Answer};
use anyhow::Result;
use contracts::{Event, EventId, Timestamp};
use event_batch::{BATCH_CONTENT_TYPE, SignatureHeaders, SigningKey};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The event as a CloudEvent, under this id.
///
/// # Errors
/// If it has no JSON form.
pub fn cloud_event(id: EventId, event: &Event) -> Result<Value> {
    Ok(json!({
        "specversion": "1.0",
        "id": id,
        "source": event.source(),
        "type": event.event_type(),
        "subject": event.aggregate_id(),
        "time": Timestamp::now(),
        "data": event.to_data()?,
    }))
}

/// Now, in Unix seconds.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| since.as_secs())
        .unwrap_or_default()
}

/// Hands `events` to `service` in one batch, signed with `key` at `at`.
///
/// # Errors
/// If there is no answer.
pub async fn hand_over(
    actor: &Actor,
    key: &SigningKey,
    service: &str,
    events: &[Value],
    at: u64,
) -> Result<Answer> {
    let body = serde_json::to_vec(events)?;
    let id = format!("msg_{}", EventId::new());
    let signature = key.sign(&id, at, &body);
    let request = actor
        .request(Method::POST, &format!("/internal/{service}/events"))
        .header("content-type", BATCH_CONTENT_TYPE)
        .header(SignatureHeaders::ID, id)
        .header(SignatureHeaders::TIMESTAMP, at.to_string())
        .header(SignatureHeaders::SIGNATURE, signature)
        .body(body);
    actor.send(request).await
}
