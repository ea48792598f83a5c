//! Delivery's tables, and its port on them.

use crate::database::{Common, Transaction, Writes, read, write};
use crate::invariants::Invariant;
use crate::world::{Process, Service, Shop, World};
use contracts::{EventId, OrderId, ShipmentId, UserId};
use delivery::application::{Arrived, Change, Loaded, LoadedShipments, Outgoing, Shipments};
use delivery::domain::{Order, Shipment, ShipmentStatus};
use service::{Page, PageQuery, StoreError};

const SERVICE: Service = Service::Delivery;

#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) common: Common,
    pub(crate) orders: Vec<Order>,
    pub(crate) shipments: Vec<Shipment>,
}

impl Database {
    fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.iter().find(|order| order.id() == id)
    }

    /// Whether the gate would let this change through.
    fn admits(&self, change: &Change) -> bool {
        let stands = self.order(change.order.id()).map_or(0, |order| order.version);
        stands == change.order.version
    }

    /// The unique constraint of tracking numbers. That an order has one shipment is for the story to say.
    fn check_shipment(&self, new: Option<&Shipment>) -> Result<(), StoreError> {
        let is_taken = |new: &Shipment| {
            let mut shipments = self.shipments.iter();
            shipments.any(|shipment| shipment.tracking_number == new.tracking_number)
        };
        match new {
            Some(new) if is_taken(new) => Err(StoreError::Constraint("shipments_tracking_number".to_owned())),
            _ => Ok(()),
        }
    }

    fn store(&mut self, world: &World, transaction: &mut Transaction, change: &Change) -> bool {
        if !self.admits(change) {
            self.common.handle_without_effect(world, SERVICE, &change.handled);
            return false;
        }
        let mut order = change.order.clone();
        order.version += 1;
        let id = order.id();
        match self.orders.iter_mut().find(|known| known.id() == id) {
            Some(known) => *known = order,
            None => self.orders.push(order),
        }
        if let Some(shipment) = &change.shipment {
            self.shipments.push(shipment.clone());
            world.tell(Process::Component(SERVICE), |world| {
                format!("ships {}", world.name("order", id.as_uuid()))
            });
            if self.shipments.iter().filter(|other| other.order_id == id).count() > 1 {
                world.violate(Invariant::OneShipment, |world| {
                    format!("{} has two shipments", world.name("order", id.as_uuid()))
                });
            }
        }
        self.common.handle(world, SERVICE, &change.handled);
        for outgoing in &change.outgoing {
            self.tell(world, transaction, outgoing);
        }
        true
    }

    fn store_arrived(&mut self, world: &World, transaction: &mut Transaction, arrived: &Arrived) -> bool {
        let id = arrived.shipment.id;
        let stands = self.shipments.iter_mut().find(|shipment| shipment.id == id);
        let Some(stands) = stands.filter(|stands| stands.version == arrived.shipment.version) else {
            self.common
                .handle_without_effect(world, SERVICE, &arrived.handled);
            return false;
        };
        *stands = arrived.shipment.clone();
        stands.version += 1;
        world.tell(Process::Component(SERVICE), |world| {
            let order = world.name("order", arrived.shipment.order_id.as_uuid());
            format!(
                "has the shipment of {order} {}",
                arrived.shipment.state.status().as_str()
            )
        });
        self.common.handle(world, SERVICE, &arrived.handled);
        if let Some(outgoing) = &arrived.outgoing {
            self.tell(world, transaction, outgoing);
        }
        true
    }

    fn tell(&mut self, world: &World, transaction: &mut Transaction, outgoing: &Outgoing) {
        let (told, trace) = (&outgoing.announcement, &outgoing.trace);
        transaction.tell(world, SERVICE, &mut self.common, &told.event, told.due_at, trace);
    }
}

/// One request's view of the tables.
pub(crate) struct Port(pub(crate) Shop);

impl Shipments for Port {
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let (orders, events) = (orders.to_vec(), events.to_vec());
        read(&self.0, SERVICE, move |world| {
            let database = world.delivery.borrow();
            let asked = database
                .orders
                .iter()
                .filter(|order| orders.contains(&order.id()));
            Ok(Loaded {
                orders: asked.cloned().collect(),
                handled: database.common.known(world, &events),
            })
        })
        .await
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        let changes = changes.to_vec();
        let writes = Writes {
            locks: changes.iter().map(|change| change.order.id().as_uuid()).collect(),
            try_lock: None,
            rows: changes.iter().map(|change| change.outgoing.len()).sum(),
        };
        write(
            &self.0,
            SERVICE,
            writes,
            |_| Ok(Vec::new()),
            move |world, transaction| {
                let database = &mut *world.delivery.borrow_mut();
                for change in changes.iter().filter(|change| database.admits(change)) {
                    database.common.check_new(world, &change.handled)?;
                    database.check_shipment(change.shipment.as_ref())?;
                }
                let mut stored = Vec::new();
                for change in &changes {
                    if database.store(world, transaction, change) {
                        stored.push(change.order.id());
                    }
                }
                Ok(stored)
            },
        )
        .await
    }

    async fn load_shipments(
        &self,
        shipments: &[ShipmentId],
        events: &[EventId],
    ) -> Result<LoadedShipments, StoreError> {
        let (shipments, events) = (shipments.to_vec(), events.to_vec());
        read(&self.0, SERVICE, move |world| {
            let database = world.delivery.borrow();
            let asked = database
                .shipments
                .iter()
                .filter(|shipment| shipments.contains(&shipment.id));
            Ok(LoadedShipments {
                shipments: asked.cloned().collect(),
                handled: database.common.known(world, &events),
            })
        })
        .await
    }

    async fn store_arrived(&self, arrived: &[Arrived]) -> Result<Vec<ShipmentId>, StoreError> {
        let arrived = arrived.to_vec();
        let writes = Writes {
            locks: arrived.iter().map(|one| one.shipment.id.as_uuid()).collect(),
            try_lock: None,
            rows: arrived.iter().filter(|one| one.outgoing.is_some()).count(),
        };
        write(
            &self.0,
            SERVICE,
            writes,
            |_| Ok(Vec::new()),
            move |world, transaction| {
                let database = &mut *world.delivery.borrow_mut();
                for one in &arrived {
                    let mut shipments = database.shipments.iter();
                    let stands = shipments.find(|shipment| shipment.id == one.shipment.id);
                    if stands.is_some_and(|stands| stands.version == one.shipment.version) {
                        database.common.check_new(world, &one.handled)?;
                    }
                }
                let mut stored = Vec::new();
                for one in &arrived {
                    if database.store_arrived(world, transaction, one) {
                        stored.push(one.shipment.id);
                    }
                }
                Ok(stored)
            },
        )
        .await
    }

    async fn find(&self, id: ShipmentId, owner: Option<UserId>) -> Result<Option<Shipment>, StoreError> {
        read(&self.0, SERVICE, move |world| {
            let database = world.delivery.borrow();
            let shipment = database
                .shipments
                .iter()
                .find(|shipment| shipment.id == id)
                .cloned();
            Ok(shipment.filter(|shipment| owner.is_none_or(|owner| shipment.user_id == owner)))
        })
        .await
    }

    async fn find_of_order(
        &self,
        order_id: OrderId,
        owner: Option<UserId>,
    ) -> Result<Option<Shipment>, StoreError> {
        read(&self.0, SERVICE, move |world| {
            let database = world.delivery.borrow();
            let mut shipments = database.shipments.iter();
            let shipment = shipments.find(|shipment| shipment.order_id == order_id).cloned();
            Ok(shipment.filter(|shipment| owner.is_none_or(|owner| shipment.user_id == owner)))
        })
        .await
    }

    async fn list(&self, _: Option<ShipmentStatus>, page: PageQuery) -> Result<Page<Shipment>, StoreError> {
        Ok(Page::new(page, 0, Vec::new()))
    }
}
