//! Delivery's port in memory, for the tests of the use cases: it keeps the port's contract, and fails as told.

use super::ports::{Arrived, Change, Loaded, LoadedShipments, Shipments};
use crate::domain::{Order, PaidOrder, Shipment, ShipmentState, ShipmentStatus};
use contracts::{Event, EventId, OrderId, ShipmentId, UserId};
use service::{Page, PageQuery, StoreError};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};

/// What befalls one call of a `store` function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    None,
    /// It fails before anything is stored.
    Lost,
    /// It fails after all is stored.
    Unknown,
    Contention,
    Constraint,
    /// Somebody else is faster: notes the order, raises its version, or delivers the shipment.
    Raced,
}

#[derive(Default)]
pub(super) struct InMemory {
    orders: RefCell<HashMap<OrderId, Order>>,
    shipments: RefCell<HashMap<ShipmentId, Shipment>>,
    inbox: RefCell<HashSet<EventId>>,
    outbox: RefCell<Vec<Event>>,
    faults: RefCell<VecDeque<Fault>>,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("a test".to_owned())
}

impl InMemory {
    pub(super) fn failing(faults: impl IntoIterator<Item = Fault>) -> Self {
        let store = Self::default();
        store.faults.borrow_mut().extend(faults);
        store
    }

    pub(super) fn with_paid_order(&self) -> OrderId {
        let id = OrderId::new();
        let mut order = Order::new(PaidOrder {
            id,
            user_id: UserId::new(),
            delivery_address: "1 Rose Street".to_owned(),
        });
        order.version = 1;
        self.orders.borrow_mut().insert(id, order);
        id
    }

    pub(super) fn set_state(&self, id: ShipmentId, state: ShipmentState) {
        if let Some(shipment) = self.shipments.borrow_mut().get_mut(&id) {
            shipment.state = state;
            shipment.version += 1;
        }
    }

    pub(super) fn shipment_of(&self, order_id: OrderId) -> Option<Shipment> {
        let shipments = self.shipments.borrow();
        shipments
            .values()
            .find(|shipment| shipment.order_id == order_id)
            .cloned()
    }

    pub(super) fn told(&self) -> Vec<&'static str> {
        self.outbox.borrow().iter().map(Event::event_type).collect()
    }

    /// Gives the fault whose effect comes after storing, if one does.
    fn before_storing(&self) -> Result<Fault, StoreError> {
        match self.faults.borrow_mut().pop_front().unwrap_or(Fault::None) {
            Fault::Lost => Err(unavailable()),
            Fault::Contention => Err(StoreError::Contention),
            Fault::Constraint => Err(StoreError::Constraint("shipments_tracking_number".to_owned())),
            fault => Ok(fault),
        }
    }

    fn apply(&self, change: &Change) -> bool {
        let mut orders = self.orders.borrow_mut();
        let id = change.order.id();
        let stands = orders.get(&id).map_or(0, |order| order.version);
        if stands != change.order.version {
            return false;
        }
        let version = change.order.version + 1;
        orders.insert(
            id,
            Order {
                version,
                ..change.order.clone()
            },
        );
        let shipments = change
            .shipment
            .iter()
            .map(|shipment| (shipment.id, shipment.clone()));
        self.shipments.borrow_mut().extend(shipments);
        self.inbox.borrow_mut().extend(change.handled.iter().copied());
        let events = change
            .outgoing
            .iter()
            .map(|outgoing| outgoing.announcement.event.clone());
        self.outbox.borrow_mut().extend(events);
        true
    }
}

impl Shipments for InMemory {
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let (known, inbox) = (self.orders.borrow(), self.inbox.borrow());
        Ok(Loaded {
            orders: orders.iter().filter_map(|id| known.get(id).cloned()).collect(),
            handled: events.iter().filter(|id| inbox.contains(id)).copied().collect(),
        })
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        let fault = self.before_storing()?;
        if fault == Fault::Raced {
            for change in changes {
                let mut orders = self.orders.borrow_mut();
                let mut theirs = Order::new(change.order.paid.clone());
                theirs.version = change.order.version + 1;
                orders.insert(theirs.id(), theirs);
            }
        }
        let stored = changes.iter().filter(|change| self.apply(change));
        let stored = stored.map(|change| change.order.id()).collect();
        if fault == Fault::Unknown {
            Err(unavailable())
        } else {
            Ok(stored)
        }
    }

    async fn load_shipments(
        &self,
        shipments: &[ShipmentId],
        events: &[EventId],
    ) -> Result<LoadedShipments, StoreError> {
        let (known, inbox) = (self.shipments.borrow(), self.inbox.borrow());
        let ids: HashSet<&ShipmentId> = shipments.iter().collect();
        Ok(LoadedShipments {
            shipments: ids.into_iter().filter_map(|id| known.get(id).cloned()).collect(),
            handled: events.iter().filter(|id| inbox.contains(id)).copied().collect(),
        })
    }

    async fn store_arrived(&self, arrived: &[Arrived]) -> Result<Vec<ShipmentId>, StoreError> {
        let fault = self.before_storing()?;
        let mut stored = Vec::new();
        for arrived in arrived {
            let mut shipments = self.shipments.borrow_mut();
            let Some(stands) = shipments.get_mut(&arrived.shipment.id) else {
                continue;
            };
            if stands.version != arrived.shipment.version {
                continue;
            }
            *stands = Shipment {
                version: arrived.shipment.version + 1,
                ..arrived.shipment.clone()
            };
            let told = arrived.outgoing.iter();
            let told = told.map(|outgoing| outgoing.announcement.event.clone());
            self.outbox.borrow_mut().extend(told);
            // Of two couriers that decided on one version the other one is taken to be faster.
            if fault != Fault::Raced {
                self.inbox.borrow_mut().extend(&arrived.handled);
                stored.push(arrived.shipment.id);
            }
        }
        Ok(stored)
    }

    async fn find(&self, id: ShipmentId, _: Option<UserId>) -> Result<Option<Shipment>, StoreError> {
        Ok(self.shipments.borrow().get(&id).cloned())
    }

    async fn find_of_order(
        &self,
        order_id: OrderId,
        _: Option<UserId>,
    ) -> Result<Option<Shipment>, StoreError> {
        Ok(self.shipment_of(order_id))
    }

    async fn list(&self, _: Option<ShipmentStatus>, _: PageQuery) -> Result<Page<Shipment>, StoreError> {
        Err(unavailable())
    }
}
