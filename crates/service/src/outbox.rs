//! Events on their way out: the rows that a service writes into its `outbox_messages` in the same statement as the
//! state that they tell of (R2).

use crate::store::StoreError;
use crate::trace::Traceparent;
use contracts::{Event, EventId, Timestamp};
use event_batch::CloudEvent;
use serde::Serialize;
use uuid::Uuid;

/// One row, as `jsonb_to_recordset` reads it in the persisting statement.
#[derive(Clone, Debug, Serialize)]
pub struct OutboxRow {
    pub event_id: EventId,
    event_type: &'static str,
    routing_key: &'static str,
    ordering_key: String,
    aggregate_id: Uuid,
    payload: CloudEvent,
    headers: Headers,
}

#[derive(Clone, Debug, Serialize)]
struct Headers {
    traceparent: String,
}

impl OutboxRow {
    /// The row that tells of `event`, which happened at `at` within `trace`.
    ///
    /// # Errors
    /// If the event has no JSON form: a mistake in its type.
    pub fn new(event: &Event, at: Timestamp, trace: &Traceparent) -> Result<Self, StoreError> {
        let event_id = EventId::new();
        let aggregate_id = event.aggregate_id();
        let data = event
            .to_data()
            .map_err(|error| StoreError::Mistake(error.to_string()))?;
        let payload = CloudEvent {
            specversion: CloudEvent::SPECVERSION.to_owned(),
            id: event_id.to_string(),
            source: event.source().to_owned(),
            event_type: event.event_type().to_owned(),
            subject: Some(aggregate_id.to_string()),
            time: Some(at.to_string()),
            traceparent: Some(trace.to_string()),
            datacontenttype: "application/json".to_owned(),
            data,
        };
        Ok(Self {
            event_id,
            event_type: event.event_type(),
            routing_key: event.routing_key(),
            ordering_key: aggregate_id.to_string(),
            aggregate_id,
            payload,
            headers: Headers {
                traceparent: trace.to_string(),
            },
        })
    }
}
