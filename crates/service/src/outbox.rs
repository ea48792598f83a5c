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
    /// When it is published: at once if there is none.
    due_at: Option<Timestamp>,
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
            due_at: None,
        })
    }

    /// A durable timer (R2): `event` is published at `due_at`, by Postgres' clock. It has an ordering key of its own,
    /// so that it holds nothing of its aggregate back while it waits.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn timer(
        event: &Event,
        at: Timestamp,
        due_at: Timestamp,
        trace: &Traceparent,
    ) -> Result<Self, StoreError> {
        let row = Self::new(event, at, trace)?;
        Ok(Self {
            ordering_key: format!("{}:{}", row.aggregate_id, row.event_type),
            due_at: Some(due_at),
            ..row
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{OrderId, PaymentDeadlinePassed};

    #[test]
    fn a_timer_does_not_share_the_ordering_key_of_its_aggregate() {
        let order_id = OrderId::new();
        let event = PaymentDeadlinePassed { order_id }.into();
        let (now, trace) = (Timestamp::now(), Traceparent::random());
        let told = OutboxRow::new(&event, now, &trace).unwrap();
        assert_eq!((told.ordering_key, told.due_at), (order_id.to_string(), None));
        let timer = OutboxRow::timer(&event, now, now, &trace).unwrap();
        assert_eq!(timer.ordering_key, format!("{order_id}:PaymentDeadlinePassed"));
        assert_eq!(
            (timer.aggregate_id, timer.due_at),
            (order_id.as_uuid(), Some(now))
        );
    }
}
