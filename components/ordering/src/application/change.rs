//! From what was decided of an order to what is stored.

use super::ports::{Cause, Change, HistoryItem, NoteItem, Outgoing};
use crate::domain::{Decision, Fact, Order};
use contracts::{EventId, Timestamp};
use service::trace::Traceparent;

/// What a decision was about.
pub(super) struct Occasion<'a> {
    pub fact: Fact,
    pub cause: &'a Cause,
    /// The event that told the fact; none for a request.
    pub event_id: Option<EventId>,
    pub trace: &'a Traceparent,
    pub at: Timestamp,
}

impl Change {
    /// The order as it is.
    pub(super) fn none(order: &Order, at: Timestamp) -> Self {
        Self {
            order_id: order.id,
            version: order.version,
            status: order.status,
            status_reason: order.status_reason,
            payment_attempt: order.payment_attempt,
            stock_reserved: order.stock_reserved,
            at,
            history: Vec::new(),
            notes: Vec::new(),
            outgoing: Vec::new(),
            handled: Vec::new(),
        }
    }

    /// Adds what was decided; `order` becomes what it is afterwards.
    pub(super) fn take(&mut self, order: &mut Order, decision: Decision, occasion: &Occasion) {
        order.take(occasion.fact, &decision);
        self.status = order.status;
        self.status_reason = order.status_reason;
        self.payment_attempt = order.payment_attempt;
        self.stock_reserved = order.stock_reserved;
        let Decision::Advance {
            transitions,
            note,
            events,
        } = decision
        else {
            return;
        };
        let Occasion {
            cause,
            event_id,
            trace,
            at,
            ..
        } = *occasion;
        let trace_id = trace.trace_id();
        self.history
            .extend(transitions.into_iter().map(|transition| HistoryItem {
                status: transition.status,
                at,
                cause: cause.clone(),
                event_id,
                trace_id: trace_id.to_owned(),
            }));
        self.notes.extend(note.map(|note| NoteItem {
            note,
            at,
            cause: cause.clone(),
            event_id,
            trace_id: trace_id.to_owned(),
        }));
        self.outgoing.extend(events.into_iter().map(|event| Outgoing {
            event,
            trace: trace.clone(),
            due_at: None,
        }));
    }
}
