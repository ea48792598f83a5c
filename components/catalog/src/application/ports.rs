//! What the use cases need of the world.

use crate::domain::{
    Bouquet, BouquetChange, Category, Flower, FlowerChange, FlowerType, Reservation, ReservationStatus,
    Search, StockDelta, StockOutOfRange,
};
use bytes::Bytes;
use contracts::{BouquetId, CategoryId, Event, EventId, FlowerId, OrderId, Timestamp};
use service::conditional::etag_of_body;
use service::encoding;
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};

/// Which flowers a list shows.
#[derive(Clone, Debug, Default)]
pub struct FlowerFilter {
    pub search: Option<Search>,
    pub flower_type: Option<FlowerType>,
}

/// Which bouquets a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct BouquetFilter {
    pub category_id: Option<CategoryId>,
}

/// Why a flower was not written.
#[derive(Debug, thiserror::Error)]
pub enum FlowerError {
    #[error("there is no such flower")]
    NotFound,
    /// It is not at the version that the client has seen.
    #[error("the flower has changed")]
    Stale,
    /// How many there are holds for one version only, and the client did not say for which.
    #[error("the client does not say which version it has seen")]
    VersionNeeded,
    #[error(transparent)]
    StockOutOfRange(#[from] StockOutOfRange),
    #[error("a bouquet holds the flower")]
    InBouquet,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a bouquet was not written.
#[derive(Debug, thiserror::Error)]
pub enum BouquetError {
    #[error("there is no such bouquet")]
    NotFound,
    /// It is not at the version that the client has seen.
    #[error("the bouquet has changed")]
    Stale,
    /// Items of these positions name a flower that there is not, and so may the category.
    #[error("flowers or the category do not exist")]
    UnknownParts { items: Vec<usize>, category: bool },
    /// A flower or the category was deleted a moment ago.
    #[error("a flower or the category was deleted")]
    PartDeleted,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a category was not written.
#[derive(Debug, thiserror::Error)]
pub enum CategoryError {
    #[error("there is no such category")]
    NotFound,
    /// It is not at the version that the client has seen.
    #[error("the category has changed")]
    Stale,
    #[error("another category has this name")]
    NameTaken,
    #[error("the category has bouquets")]
    HasBouquets,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where flowers are kept. Deleted ones are not there.
pub trait Flowers {
    async fn find(&self, id: FlowerId) -> Result<Option<Flower>, StoreError>;

    /// A page of the matching flowers, newest first.
    async fn list(&self, filter: &FlowerFilter, page: PageQuery) -> Result<Page<Flower>, StoreError>;

    /// Stores a new flower and what it tells, both or nothing.
    async fn insert(&self, change: &FlowerChange, trace: &Traceparent) -> Result<(), FlowerError>;

    /// Stores a change and what it tells, both or nothing. `false`: the version has moved on.
    ///
    /// MUST store nothing at all if the version has moved on, and MUST answer `InBouquet` to the deletion of a flower
    /// that a bouquet holds.
    async fn store(&self, change: &FlowerChange, trace: &Traceparent) -> Result<bool, FlowerError>;

    /// Corrects the stock of a flower whatever its version is, and gives the flower afterwards. `None`: there is no
    /// such flower, or its stock would leave its range.
    async fn add_stock(
        &self,
        id: FlowerId,
        delta: StockDelta,
        now: Timestamp,
    ) -> Result<Option<Flower>, StoreError>;
}

/// What there is of that which a bouquet is made of.
#[derive(Clone, Debug, Default)]
pub struct KnownParts {
    pub flowers: Vec<FlowerId>,
    pub category: bool,
}

/// Where bouquets are kept. Deleted ones are not there.
pub trait Bouquets {
    async fn find(&self, id: BouquetId) -> Result<Option<Bouquet>, StoreError>;

    /// A page of the matching bouquets, newest first.
    async fn list(&self, filter: BouquetFilter, page: PageQuery) -> Result<Page<Bouquet>, StoreError>;

    /// Which of `flowers` there are, and whether there is `category`.
    async fn known_parts(&self, flowers: &[FlowerId], category: CategoryId)
    -> Result<KnownParts, StoreError>;

    /// Stores a new bouquet and what it tells, both or nothing.
    ///
    /// MUST answer `PartDeleted` if one of its flowers or its category is not there.
    async fn insert(&self, change: &BouquetChange, trace: &Traceparent) -> Result<(), BouquetError>;

    /// Stores a change and what it tells, both or nothing. `false`: the version has moved on.
    ///
    /// MUST store nothing at all if the version has moved on, and MUST answer `PartDeleted` if one of its flowers or
    /// its category is not there.
    async fn store(&self, change: &BouquetChange, trace: &Traceparent) -> Result<bool, BouquetError>;
}

/// Where categories are kept.
pub trait Categories {
    async fn find(&self, id: CategoryId) -> Result<Option<Category>, StoreError>;

    /// A page of the categories, newest first.
    async fn list(&self, page: PageQuery) -> Result<Page<Category>, StoreError>;

    /// MUST answer `NameTaken` if another category has the name.
    async fn insert(&self, category: &Category) -> Result<(), CategoryError>;

    /// Stores a category that was decided on one version earlier. `false`: the version has moved on.
    ///
    /// MUST answer `NameTaken` if another category has the name.
    async fn store(&self, category: &Category) -> Result<bool, CategoryError>;

    /// Deletes `category`. `false`: the version has moved on.
    ///
    /// MUST answer `HasBouquets` if a bouquet is in it.
    async fn delete(&self, category: &Category) -> Result<bool, CategoryError>;
}

/// A reservation as it was read back.
#[derive(Clone, Debug)]
pub struct StoredReservation {
    pub order_id: OrderId,
    pub status: ReservationStatus,
    pub version: i64,
    /// Of which something was taken, whether it was put back or not.
    pub flowers: Vec<FlowerId>,
}

/// What a batch speaks of.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub reservations: Vec<StoredReservation>,
    /// Those of the batch's events that were handled before.
    pub handled: Vec<EventId>,
}

/// An event that is told if the stock decides so.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub is_reserved: bool,
    pub event: Event,
    pub trace: Traceparent,
}

/// What the events of one order come to.
#[derive(Clone, Debug)]
pub struct ReservationChange {
    pub order_id: OrderId,
    /// The version that was decided on: 0 for an order that nothing was heard of.
    pub version: i64,
    pub reservation: Reservation,
    /// What is told of an order that asks: one of the two.
    pub outgoing: [Outgoing; 2],
    pub handled: Vec<EventId>,
}

/// What was stored.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub orders: Vec<OrderId>,
    /// Whose stock is another now.
    pub flowers: Vec<FlowerId>,
}

/// Where reservations are kept, beside the stock.
pub trait Reservations {
    /// The reservations of `orders`, and which of `events` were handled before.
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError>;

    /// Stores each change whose reservation still has the version that was decided on: its status, the stock that it
    /// moves, what it tells and what was handled, all or nothing. Orders that ask are served in the order of
    /// `changes`, each wholly or not at all.
    ///
    /// MUST store nothing at all of a change whose version has moved on.
    async fn store(&self, changes: &[ReservationChange], at: Timestamp) -> Result<Stored, StoreError>;
}

/// A flower ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    pub version: i64,
    /// JSON.
    pub body: Bytes,
}

/// A page of a list ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The entity tag, which no other body has.
    pub etag: String,
    /// JSON.
    pub body: Bytes,
    /// The same in gzip, if it was compressed already.
    pub gzipped: Option<Bytes>,
}

impl Listing {
    /// Names `body`.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self {
            etag: etag_of_body(&body),
            body,
            gzipped: None,
        }
    }

    /// Compresses it once for all who will take it so, if that is worth while.
    ///
    /// # Errors
    /// Never: memory takes what is written to it.
    pub fn compressed(mut self) -> Result<Self, StoreError> {
        if self.is_worth_compressing() {
            self.gzipped = Some(self.in_gzip()?);
        }
        Ok(self)
    }

    #[must_use]
    pub fn is_worth_compressing(&self) -> bool {
        self.body.len() >= encoding::MIN_BYTES
    }

    /// The body in gzip.
    ///
    /// # Errors
    /// Never: memory takes what is written to it.
    pub fn in_gzip(&self) -> Result<Bytes, StoreError> {
        match &self.gzipped {
            Some(gzipped) => Ok(gzipped.clone()),
            None => encoding::gzip(&self.body).map_err(|error| StoreError::Mistake(error.to_string())),
        }
    }
}

/// What the cache says.
#[derive(Debug)]
pub enum Lookup<T> {
    Hit(T),
    /// Nothing is kept. What the store says from now on may be kept with this ticket.
    Miss(Ticket),
}

/// The right to keep what is loaded after it was given out, if there is such a right: an opaque word of the cache's.
#[derive(Debug)]
pub struct Ticket(pub(crate) Option<String>);

/// Keeps representations of flowers. It may lose anything at any time, and never fails.
///
/// Once [`Self::forget`] has returned, nothing that was loaded before it was called MUST be given out again, whoever
/// loaded it and however late that is kept; unless the cache cannot be reached, when its time limits bound it.
pub trait FlowerCache {
    async fn flower(&self, id: FlowerId) -> Lookup<Representation>;

    /// Keeps what was loaded for the ticket.
    async fn keep_flower(&self, id: FlowerId, ticket: Ticket, flower: &Representation);

    /// There is nothing to keep: the ticket goes back.
    async fn give_back(&self, id: FlowerId, ticket: Ticket);

    async fn list(&self, filter: &FlowerFilter, page: PageQuery) -> Lookup<Listing>;

    /// Keeps what was loaded for the ticket.
    async fn keep_list(&self, filter: &FlowerFilter, page: PageQuery, ticket: Ticket, listing: &Listing);

    /// Forgets the flowers, and every list: any of them may show one. To be called after a write is committed and
    /// before it is answered.
    async fn forget(&self, ids: &[FlowerId]);
}
