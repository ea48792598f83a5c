//! What the use cases need of the world.

use crate::domain::{CatalogItem, Note, Order, OrderStatus, Product, StatusReason};
use contracts::{Event, EventId, Money, OrderId, Timestamp, UserId};
use service::idempotency::{IdempotencyKey, KeptAnswer, KeptAnswers, Verdict};
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};
use std::borrow::Cow;
use uuid::Uuid;

/// What brought something about: an event's type, or the request.
pub type Cause = Cow<'static, str>;

/// A request's idempotency key, and the answer that is kept under it.
pub type Keyed<'a> = (&'a IdempotencyKey, &'a KeptAnswer);

/// One change of status, as an order's history keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryItem {
    pub status: OrderStatus,
    pub at: Timestamp,
    pub cause: Cause,
    pub event_id: Option<EventId>,
    pub trace_id: String,
}

/// A fact that is no change of status, as an order's history keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct NoteItem {
    pub note: Note,
    pub at: Timestamp,
    pub cause: Cause,
    pub event_id: Option<EventId>,
    pub trace_id: String,
}

/// An event to be published, in the trace of what caused it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub event: Event,
    pub trace: Traceparent,
    /// Of a durable timer: when it comes home.
    pub due_at: Option<Timestamp>,
}

/// What the handled events of one order, or a client's request, come to. A request has no notes and handles no event.
#[derive(Clone, Debug)]
pub struct Change {
    pub order_id: OrderId,
    /// The version that the decision was made on.
    pub version: i64,
    pub status: OrderStatus,
    pub status_reason: Option<StatusReason>,
    pub payment_attempt: u32,
    pub stock_reserved: bool,
    pub at: Timestamp,
    pub history: Vec<HistoryItem>,
    pub notes: Vec<NoteItem>,
    pub outgoing: Vec<Outgoing>,
    pub handled: Vec<EventId>,
}

/// What the catalog told of a product.
#[derive(Clone, Debug)]
pub struct CatalogChange {
    pub product: Product,
    pub version: i64,
    pub name: String,
    pub price: Money,
    pub deleted: bool,
    pub event_id: EventId,
}

/// What handling a batch starts from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The orders that there are, without their items.
    pub orders: Vec<Order>,
    /// Which of the events were handled before.
    pub handled: Vec<EventId>,
}

/// Which orders a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderFilter {
    pub user_id: Option<UserId>,
    pub status: Option<OrderStatus>,
    pub created_from: Option<Timestamp>,
    pub created_to: Option<Timestamp>,
}

/// Where orders are kept, and the answers to keyed requests. `owner` limits a read to that user's orders; `None` sees
/// all.
pub trait Orders: KeptAnswers {
    /// What can be bought of `products`: unknown and deleted ones are left out.
    async fn catalog_items(&self, products: &[Product]) -> Result<Vec<CatalogItem>, StoreError>;

    /// Stores a new order, its history and what it tells, with the answer to a keyed request, all or nothing.
    ///
    /// MUST store nothing at all if the key was used before.
    async fn insert(
        &self,
        order: &Order,
        history: &HistoryItem,
        outgoing: &[Outgoing],
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError>;

    async fn find(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError>;

    /// A page of the matching orders, newest first.
    async fn list(&self, filter: OrderFilter, page: PageQuery) -> Result<Page<Order>, StoreError>;

    /// What became of an order, oldest first; `None` if there is no such order.
    async fn history(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<StoredHistory>, StoreError>;

    /// The orders that a batch speaks of, and which of its events were handled before.
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError>;

    /// Stores each change whose order still has the version that was decided on: its state, its history, what it
    /// tells and what was handled, all or nothing. Gives the orders whose change was stored.
    ///
    /// MUST store nothing at all of a change whose version has moved on.
    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError>;

    /// Stores a change that a request asked for, as [`Self::store`] does, with the answer to a keyed request.
    ///
    /// MUST store nothing at all if the key was used before; and nothing at all if the version has moved on, which is
    /// [`StoreError::Contention`].
    async fn store_requested(&self, change: &Change, keyed: Option<Keyed<'_>>)
    -> Result<Verdict, StoreError>;

    /// Takes over what the catalog told, where it is newer than what is known, and notes the events as handled.
    async fn store_catalog(&self, changes: &[CatalogChange]) -> Result<(), StoreError>;
}

/// What became of an order, as it was read back.
#[derive(Clone, Debug)]
pub struct StoredHistory {
    /// The changes of status; `what` is the status.
    pub items: Vec<StoredHistoryItem>,
    /// Other facts; `what` is the note.
    pub notes: Vec<StoredHistoryItem>,
}

/// One line of a history.
#[derive(Clone, Debug)]
pub struct StoredHistoryItem {
    pub what: String,
    pub at: Timestamp,
    pub cause: String,
    pub event_id: Option<Uuid>,
    pub trace_id: String,
}
