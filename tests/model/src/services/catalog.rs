//! The catalog's tables, and its ports on them: how a cart is served is what `store_reservations.sql` says, and is said
//! here again.

use crate::database::{Common, Transaction, Writes, read, write};
use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::world::{Process, Service, Shop, World};
use catalog::application::{
    FlowerCache, FlowerError, FlowerFilter, Flowers, Loaded, Lookup, Representation, ReservationChange,
    Reservations, Stored, StoredReservation, Ticket,
};
use catalog::domain::{Flower, FlowerChange, Line, Product, ReservationStatus, Stock, StockDelta};
use contracts::{BouquetId, EventId, FlowerId, OrderId, Timestamp};
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};

const SERVICE: Service = Service::Catalog;

/// A reservation and what it took.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) order_id: OrderId,
    pub(crate) status: ReservationStatus,
    version: i64,
    pub(crate) taken: Vec<(FlowerId, i64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) common: Common,
    pub(crate) flowers: Vec<Flower>,
    /// What each bouquet is made of.
    pub(crate) bouquets: Vec<(BouquetId, Vec<(FlowerId, i64)>)>,
    pub(crate) reservations: Vec<Kept>,
    /// All corrections of the stock, together.
    pub(crate) corrected: i64,
}

impl Database {
    fn kept(&self, id: OrderId) -> Option<&Kept> {
        self.reservations.iter().find(|kept| kept.order_id == id)
    }

    fn flower(&self, id: FlowerId) -> Option<&Flower> {
        self.flowers.iter().find(|flower| flower.id == id)
    }

    /// What lines need of each flower.
    fn needs(&self, lines: &[Line]) -> Vec<(FlowerId, i64)> {
        let mut needs: Vec<(FlowerId, i64)> = Vec::new();
        let mut add =
            |flower: FlowerId, quantity: i64| match needs.iter_mut().find(|(known, _)| *known == flower) {
                Some((_, needed)) => *needed += quantity,
                None => needs.push((flower, quantity)),
            };
        for line in lines {
            let quantity = i64::from(line.quantity.get());
            match line.product {
                Product::Flower(id) => add(id, quantity),
                Product::Bouquet(id) => {
                    let parts = self.bouquets.iter().find(|(bouquet, _)| *bouquet == id);
                    for (flower, each) in parts.map(|(_, parts)| parts.as_slice()).unwrap_or_default() {
                        add(*flower, quantity * each);
                    }
                }
            }
        }
        needs
    }

    fn move_stock(&mut self, world: &World, id: FlowerId, by: i64) {
        let Some(flower) = self.flowers.iter_mut().find(|flower| flower.id == id) else {
            return;
        };
        let stock = i64::from(flower.stock_quantity) + by;
        if stock < 0 {
            world.violate(Invariant::StockIsNeverNegative, |world| {
                format!("there are {stock} of {}", world.name("flower", id.as_uuid()))
            });
        }
        flower.stock_quantity = i32::try_from(stock).unwrap_or_default();
        flower.version += 1;
    }

    fn has_enough(&self, needs: &[(FlowerId, i64)]) -> bool {
        needs.iter().all(|(id, quantity)| {
            self.flower(*id)
                .is_some_and(|flower| i64::from(flower.stock_quantity) >= *quantity)
        })
    }

    fn put_back(&mut self, world: &World, id: OrderId) {
        let taken = self.kept(id).map(|kept| kept.taken.clone()).unwrap_or_default();
        for (flower, quantity) in taken {
            self.move_stock(world, flower, quantity);
        }
    }

    /// The primary keys: an order that somebody else has inserted meanwhile, or an event that the inbox knows.
    fn check(&self, world: &World, changes: &[ReservationChange]) -> Result<(), StoreError> {
        for change in changes {
            match self.kept(change.order_id) {
                Some(_) if change.version == 0 => {
                    return Err(StoreError::Constraint("reservations_pkey".to_owned()));
                }
                Some(kept) if kept.version != change.version => {}
                _ => self.common.check_new(world, &change.handled)?,
            }
        }
        Ok(())
    }

    fn store(&mut self, world: &World, transaction: &mut Transaction, change: &ReservationChange) -> bool {
        let order_id = change.order_id;
        let before = self.kept(order_id).map(|kept| (kept.version, kept.status));
        let status = change.reservation.status();
        if before.map_or(0, |(version, _)| version) != change.version {
            self.common.handle_without_effect(world, SERVICE, &change.handled);
            if status == Some(ReservationStatus::Released) && world.breaks(Mutation::PutBackBesideTheGate) {
                self.put_back(world, order_id);
            }
            return false;
        }
        let needs = self.needs(change.reservation.lines());
        let mut taken = Vec::new();
        let status = match status {
            Some(status) => status,
            None if self.has_enough(&needs) => {
                for (flower, quantity) in &needs {
                    self.move_stock(world, *flower, -quantity);
                }
                taken = needs;
                ReservationStatus::Reserved
            }
            None => ReservationStatus::Rejected,
        };
        if before.is_some_and(|(_, before)| before == ReservationStatus::Reserved)
            && status == ReservationStatus::Released
        {
            self.put_back(world, order_id);
        }
        self.common.handle(world, SERVICE, &change.handled);
        if before.is_none() && status == ReservationStatus::Withdrawn && world.breaks(Mutation::NoTombstone) {
            return true;
        }
        world.tell(Process::Component(SERVICE), |world| {
            let order = world.name("order", order_id.as_uuid());
            format!("has the reservation of {order} {}", status.as_str())
        });
        let version = change.version + 1;
        match self
            .reservations
            .iter_mut()
            .find(|kept| kept.order_id == order_id)
        {
            Some(kept) => {
                kept.status = status;
                kept.version = version;
            }
            None => self.reservations.push(Kept {
                order_id,
                status,
                version,
                taken,
            }),
        }
        if change.reservation.status().is_none() {
            let is_reserved = status == ReservationStatus::Reserved;
            for outgoing in change
                .outgoing
                .iter()
                .filter(|one| one.is_reserved == is_reserved)
            {
                let (event, trace) = (&outgoing.event, &outgoing.trace);
                transaction.tell(world, SERVICE, &mut self.common, event, None, trace);
            }
        }
        true
    }
}

/// One request's view of the tables. There is no cache: it forgets at once.
pub(crate) struct Port(pub(crate) Shop);

impl Reservations for Port {
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let (orders, events) = (orders.to_vec(), events.to_vec());
        read(&self.0, SERVICE, move |world| {
            let database = world.catalog.borrow();
            let asked = database
                .reservations
                .iter()
                .filter(|kept| orders.contains(&kept.order_id));
            let stored = |kept: &Kept| StoredReservation {
                order_id: kept.order_id,
                status: kept.status,
                version: kept.version,
                flowers: kept.taken.iter().map(|(flower, _)| *flower).collect(),
            };
            Ok(Loaded {
                reservations: asked.map(stored).collect(),
                handled: database.common.known(world, &events),
            })
        })
        .await
    }

    async fn store(&self, changes: &[ReservationChange], _: Timestamp) -> Result<Stored, StoreError> {
        let changes = changes.to_vec();
        let writes = Writes {
            locks: changes.iter().map(|change| change.order_id.as_uuid()).collect(),
            try_lock: None,
            rows: changes.len(),
        };
        write(
            &self.0,
            SERVICE,
            writes,
            || Ok(Stored::default()),
            move |world, transaction| {
                let database = &mut *world.catalog.borrow_mut();
                database.check(world, &changes)?;
                let mut stored = Stored::default();
                // What is put back can be taken by the same statement.
                let (back, rest): (Vec<_>, Vec<_>) = changes
                    .iter()
                    .partition(|change| change.reservation.status() == Some(ReservationStatus::Released));
                for change in back.into_iter().chain(rest) {
                    if database.store(world, transaction, change) {
                        stored.orders.push(change.order_id);
                    }
                }
                Ok(stored)
            },
        )
        .await
    }
}

impl Flowers for Port {
    async fn find(&self, id: FlowerId) -> Result<Option<Flower>, StoreError> {
        read(&self.0, SERVICE, move |world| {
            Ok(world.catalog.borrow().flower(id).cloned())
        })
        .await
    }

    async fn list(&self, _: &FlowerFilter, page: PageQuery) -> Result<Page<Flower>, StoreError> {
        Ok(Page::new(page, 0, Vec::new()))
    }

    async fn insert(&self, _: &FlowerChange, _: &Traceparent) -> Result<(), FlowerError> {
        Err(StoreError::Mistake("the model has all flowers that it will have".to_owned()).into())
    }

    async fn store(&self, change: &FlowerChange, trace: &Traceparent) -> Result<bool, FlowerError> {
        let (change, trace) = (change.clone(), trace.clone());
        let writes = Writes {
            locks: vec![change.flower.id.as_uuid()],
            try_lock: None,
            rows: 1,
        };
        let stored = write(
            &self.0,
            SERVICE,
            writes,
            || Ok(false),
            move |world, transaction| {
                let database = &mut *world.catalog.borrow_mut();
                let id = change.flower.id;
                let flower = database.flowers.iter_mut().find(|flower| flower.id == id);
                let Some(flower) = flower.filter(|flower| flower.version == change.decided_on()) else {
                    return Ok(false);
                };
                database.corrected += i64::from(change.flower.stock_quantity - flower.stock_quantity);
                flower.clone_from(&change.flower);
                if let Some(event) = change.event.clone() {
                    transaction.tell(world, SERVICE, &mut database.common, &event.into(), None, &trace);
                }
                Ok(true)
            },
        )
        .await;
        Ok(stored?)
    }

    async fn add_stock(
        &self,
        id: FlowerId,
        delta: StockDelta,
        _: Timestamp,
    ) -> Result<Option<Flower>, StoreError> {
        let writes = Writes {
            locks: Vec::new(),
            try_lock: None,
            rows: 0,
        };
        write(
            &self.0,
            SERVICE,
            writes,
            || Ok(None),
            move |world, _| {
                let database = &mut *world.catalog.borrow_mut();
                let Some(flower) = database.flower(id) else {
                    return Ok(None);
                };
                let stock = flower.stock_quantity + delta.get();
                if !(0..=Stock::MAX).contains(&stock) {
                    return Ok(None);
                }
                database.corrected += i64::from(delta.get());
                database.move_stock(world, id, delta.get().into());
                world.tell(Process::Component(SERVICE), |world| {
                    let flower = world.name("flower", id.as_uuid());
                    format!("corrects the stock of {flower} by {} to {stock}", delta.get())
                });
                Ok(database.flower(id).cloned())
            },
        )
        .await
    }
}

impl FlowerCache for Port {
    async fn flower(&self, _: FlowerId) -> Lookup<Representation> {
        std::future::pending().await
    }

    async fn keep_flower(&self, _: FlowerId, _: Ticket, _: &Representation) {}

    async fn give_back(&self, _: FlowerId, _: Ticket) {}

    async fn list(&self, _: &FlowerFilter, _: PageQuery) -> Lookup<bytes::Bytes> {
        std::future::pending().await
    }

    async fn keep_list(&self, _: &FlowerFilter, _: PageQuery, _: Ticket, _: &bytes::Bytes) {}

    async fn forget(&self, _: &[FlowerId]) {}
}
