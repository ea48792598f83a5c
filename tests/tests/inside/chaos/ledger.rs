//! What clients were told: the one side of the comparison.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a request ended, as far as its client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told<T> {
    Done(T),
    /// It will never be done: the status.
    Refused(u16),
    /// No answer came that says.
    Unknown,
}

/// What a client was told when an order was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) flower_id: String,
    pub(super) quantity: i64,
    pub(super) total: String,
}

/// What people know of an order.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Nothing if nobody waited for the answer: a courier may know it all the same.
    pub(super) placed: Option<Placed>,
    /// The cancellation was acknowledged, or refused.
    pub(super) cancelled: Option<bool>,
    /// A courier was told that it is delivered (true) or failed (false).
    pub(super) delivered: Option<bool>,
}

/// Everything that any client was told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    orders: Mutex<BTreeMap<String, Known>>,
    tally: Mutex<Tally>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    /// Requests that had to be sent again.
    pub(super) repeated: u64,
    /// Orders of which nobody knows whether they were placed.
    pub(super) unknown_orders: i64,
}

impl Ledger {
    pub(super) fn orders(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, order_id: &str, note: impl FnOnce(&mut Known)) {
        note(self.orders().entry(order_id.to_owned()).or_default());
    }
}
