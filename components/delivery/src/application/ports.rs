//! What the use cases need of the world.

use crate::domain::{Announcement, Order, Shipment, ShipmentStatus};
use contracts::{Event, EventId, OrderId, ShipmentId, Timestamp, UserId};
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};

/// An event to be published, in the trace of what caused it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub announcement: Announcement,
    pub trace: Traceparent,
}

impl Outgoing {
    /// All of these, in one trace.
    #[must_use]
    pub fn all(announcements: Vec<Announcement>, trace: &Traceparent) -> Vec<Self> {
        let outgoing = |announcement| Self {
            announcement,
            trace: trace.clone(),
        };
        announcements.into_iter().map(outgoing).collect()
    }

    /// `event`, to be told at once.
    #[must_use]
    pub fn now(event: Event, trace: &Traceparent) -> Self {
        Self {
            announcement: Announcement { event, due_at: None },
            trace: trace.clone(),
        }
    }
}

/// What handled events, or a request, come to for one order.
#[derive(Clone, Debug)]
pub struct Change {
    /// The order with the version that the decision was made on; 0 if it is new.
    pub order: Order,
    /// The shipment that it was given by this.
    pub shipment: Option<Shipment>,
    pub at: Timestamp,
    pub outgoing: Vec<Outgoing>,
    pub handled: Vec<EventId>,
}

/// What handled timers, or a request, come to for one shipment.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The shipment with the version that the decision was made on.
    pub shipment: Shipment,
    /// `None` if it had ended before.
    pub outgoing: Option<Outgoing>,
    pub handled: Vec<EventId>,
}

/// What handling a batch of timers starts from.
#[derive(Clone, Debug, Default)]
pub struct LoadedShipments {
    pub shipments: Vec<Shipment>,
    /// Which of the events were handled before.
    pub handled: Vec<EventId>,
}

/// What handling a batch starts from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub orders: Vec<Order>,
    /// Which of the events were handled before.
    pub handled: Vec<EventId>,
}

/// Where paid orders and their shipments are kept. `owner` limits a read to that user's; `None` sees all.
pub trait Shipments {
    /// The orders that a batch or a request speaks of, and which of the events were handled before.
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError>;

    /// Stores each change whose order still has the version that was decided on, or is new and still unknown: the
    /// order, its shipment, what it tells and what was handled, all or nothing. Gives the orders whose change was
    /// stored.
    ///
    /// MUST store nothing at all of a change whose version has moved on.
    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError>;

    /// The shipments that a batch speaks of, and which of the events were handled before.
    async fn load_shipments(
        &self,
        shipments: &[ShipmentId],
        events: &[EventId],
    ) -> Result<LoadedShipments, StoreError>;

    /// Stores what became of each shipment that still has the version that was decided on: its state, what it tells
    /// and what was handled, all or nothing. Gives the shipments whose end was stored.
    ///
    /// MUST store nothing at all of a shipment whose version has moved on.
    async fn store_arrived(&self, arrived: &[Arrived]) -> Result<Vec<ShipmentId>, StoreError>;

    async fn find(&self, id: ShipmentId, owner: Option<UserId>) -> Result<Option<Shipment>, StoreError>;

    async fn find_of_order(
        &self,
        order_id: OrderId,
        owner: Option<UserId>,
    ) -> Result<Option<Shipment>, StoreError>;

    /// A page of all shipments, or those of one status, oldest first.
    async fn list(
        &self,
        status: Option<ShipmentStatus>,
        page: PageQuery,
    ) -> Result<Page<Shipment>, StoreError>;
}
