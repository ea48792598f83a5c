//! What the use cases need of the world.

use crate::domain::{Charge, ChargeKey, Order, Payment, Refund, RefundKey, Verdict};
use contracts::{Event, EventId, OrderId, PaymentId, Timestamp, UserId};
use service::idempotency::{IdempotencyKey, KeptAnswer, KeptAnswers, Known, Verdict as Keyed};
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};
use std::time::Duration;

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
    /// When it is published: at once if there is none.
    pub due_at: Option<Timestamp>,
    pub trace: Traceparent,
}

impl Outgoing {
    /// A timer that comes home at `due_at`.
    #[must_use]
    pub fn timer(event: impl Into<Event>, due_at: Timestamp, trace: &Traceparent) -> Self {
        Self {
            event: event.into(),
            due_at: Some(due_at),
            trace: trace.clone(),
        }
    }

    /// All of `events`, at once and in one trace.
    #[must_use]
    pub fn all(events: impl IntoIterator<Item = Event>, trace: &Traceparent) -> Vec<Self> {
        let outgoing = |event| Self {
            event,
            due_at: None,
            trace: trace.clone(),
        };
        events.into_iter().map(outgoing).collect()
    }
}

/// What handled events, or a request, come to for one order.
#[derive(Clone, Debug)]
pub struct Change {
    /// The order as it is to be, but for its version: that is the one which the decision was made on. Of its payments
    /// only the last has changed, or is new.
    pub order: Order,
    pub at: Timestamp,
    pub outgoing: Vec<Outgoing>,
    pub handled: Vec<EventId>,
}

impl Change {
    /// A change that handles no event.
    #[must_use]
    pub fn new(order: Order, at: Timestamp, outgoing: Vec<Outgoing>) -> Self {
        Self {
            order,
            at,
            outgoing,
            handled: Vec::new(),
        }
    }
}

/// What is known of an idempotency key that was used before.
#[derive(Clone, Debug)]
pub struct UsedKey {
    pub known: Known,
    /// The payment whose attempt was stored under it.
    pub payment: Option<Payment>,
    /// Since then.
    pub age: Duration,
}

/// Where orders and their payments are kept, and the answers to keyed requests. `owner` limits a read to that user's;
/// `None` sees all.
pub trait Orders: KeptAnswers {
    /// Stores those of `firsts` that the store has not heard of, with the first attempt if they have one, and gives all
    /// of them as they stand, those of `others` that there are, and which of `events` were handled before. No event
    /// counts as handled by this.
    ///
    /// An order that another transaction is storing at the same time MAY be missing from the answer: then it is there
    /// when asked for again.
    async fn open(
        &self,
        firsts: &[Order],
        others: &[OrderId],
        events: &[EventId],
    ) -> Result<Opened, StoreError>;

    /// The order as it stands.
    async fn load(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError>;

    /// Stores each change whose order still has the version that was decided on: the order, its last payment, what is
    /// told and what was handled, all or nothing. Gives the orders whose change was stored.
    ///
    /// MUST store nothing at all of a change whose version has moved on, and raise the version of one that it stores.
    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError>;

    /// Stores a change of the last payment alone, which starts it, as [`Self::store`] does, and that it began under
    /// `key`.
    ///
    /// MUST store nothing at all, and say what is known of the key, if it was used before; and nothing at all of a
    /// change whose version has moved on, which is [`StoreError::Contention`].
    async fn begin(&self, change: &Change, key: Option<&IdempotencyKey>) -> Result<Keyed, StoreError>;

    /// Stores a change of the last payment alone, which ends it, as [`Self::store`] does, with the answer to the keyed
    /// request that started it. Where an answer was given before, the change is stored, that answer stays, and what is known of the
    /// key is said.
    ///
    /// MUST store nothing at all of a change whose version has moved on: that is [`StoreError::Contention`].
    async fn settle(
        &self,
        change: &Change,
        keyed: Option<(&IdempotencyKey, &KeptAnswer)>,
    ) -> Result<Keyed, StoreError>;

    /// Keeps the answer to the keyed request that started this payment, unless one was given before.
    async fn answer(
        &self,
        key: &IdempotencyKey,
        payment_id: PaymentId,
        answer: &KeptAnswer,
    ) -> Result<Keyed, StoreError>;

    /// What is known of a key; `None` if it was not used, or a day ago.
    async fn find_key(&self, key: &IdempotencyKey) -> Result<Option<UsedKey>, StoreError>;

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

/// Who takes the money, and gives it back. Each call MUST answer, or give up with [`NoAnswer`], within a bounded time.
pub trait Provider {
    /// Takes the money, or declines.
    ///
    /// MUST charge at most once for one key, however often and however close together it is asked to, and give every
    /// call the same verdict.
    async fn charge(&self, charge: &Charge) -> Result<Verdict, NoAnswer>;

    /// What became of the charge of this key.
    async fn look_up(&self, key: &ChargeKey) -> Result<LookedUp, NoAnswer>;

    /// Closes the key of a charge that was not made: it is [`Withdrawn`](Verdict::Withdrawn) from now on. Of one that
    /// was made, its verdict.
    async fn withdraw(&self, charge: &Charge) -> Result<Verdict, NoAnswer>;

    /// Gives back what a charge took.
    ///
    /// MUST refund at most once for one key, and never more than was taken.
    async fn refund(&self, refund: &Refund) -> Result<(), NoAnswer>;

    /// Whether the refund of this key was made.
    async fn is_refunded(&self, key: &RefundKey) -> Result<bool, NoAnswer>;
}
