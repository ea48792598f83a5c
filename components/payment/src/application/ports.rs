//! What the use cases need of the world.

use crate::domain::{Charge, ChargeKey, Order, Payment, Verdict};
use contracts::{Event, EventId, OrderId, PaymentId, Timestamp, UserId};
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};

/// An order as it stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub order: Order,
    /// Whether this call stored it: then nobody has asked the provider yet.
    pub is_new: bool,
}

/// What handling a batch starts from.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    pub orders: Vec<Standing>,
    /// Which of the events were handled before.
    pub handled: Vec<EventId>,
}

/// An event to be published, in the trace of what caused it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub event: Event,
    pub trace: Traceparent,
}

/// What the handled events of one order come to.
#[derive(Clone, Debug)]
pub struct Change {
    pub order_id: OrderId,
    /// The version that the decision was made on.
    pub version: i64,
    /// The payment that has ended, as it is now.
    pub ended: Option<Payment>,
    pub at: Timestamp,
    pub outgoing: Vec<Outgoing>,
    pub handled: Vec<EventId>,
}

/// Where orders and their payments are kept. `owner` limits a read to that user's; `None` sees all.
pub trait Orders {
    /// Stores those of `orders` that the store has not heard of, with their first attempt, and gives all of them as
    /// they stand, and which of `events` were handled before. No event counts as handled by this.
    ///
    /// An order that another transaction is storing at the same time MAY be missing from the answer: then it is there
    /// when asked for again.
    async fn open(&self, orders: &[Order], events: &[EventId]) -> Result<Opened, StoreError>;

    /// Stores each change whose order still has the version that was decided on: the payment's end, what it tells and
    /// what was handled, all or nothing. Gives the orders whose change was stored.
    ///
    /// MUST store nothing at all of a change whose version has moved on.
    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError>;

    async fn find(&self, id: PaymentId, owner: Option<UserId>) -> Result<Option<Payment>, StoreError>;

    /// A page of an order's payments, oldest first; `None` if there is no such order.
    async fn list(
        &self,
        order_id: OrderId,
        owner: Option<UserId>,
        page: PageQuery,
    ) -> Result<Option<Page<Payment>>, StoreError>;
}

/// The provider gave no answer in time. What was asked of it may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider does not answer")]
pub struct NoAnswer;

/// What a provider knows of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookedUp {
    /// It has never heard of the key.
    Unknown,
    /// It has heard of the charge, and has not decided yet.
    Pending,
    Settled(Verdict),
}

/// Who takes the money.
pub trait Provider {
    /// Takes the money, or declines.
    ///
    /// MUST charge at most once for one key, however often and however close together it is asked to, and give every
    /// call the same verdict. MUST answer, or give up with [`NoAnswer`], within a bounded time.
    async fn charge(&self, charge: &Charge) -> Result<Verdict, NoAnswer>;

    /// What became of the charge of this key. MUST answer, or give up, within a bounded time.
    async fn look_up(&self, key: &ChargeKey) -> Result<LookedUp, NoAnswer>;
}
