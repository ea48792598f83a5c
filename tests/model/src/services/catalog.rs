//! The catalog's tables, and its ports on them: how a cart is served is what `store_reservations.sql` says, and is said
//! here again.

use crate::database::{Common, Transaction, Writes, read, write};
use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::world::{Process, Service, Shop, World};
use catalog::application::{
    BouquetError, BouquetFilter, Bouquets, Categories, CategoryError, FlowerCache, FlowerError, FlowerFilter,
    Flowers, KnownParts, Listing, Loaded, Lookup, Representation, ReservationChange, Reservations, Stored,
    StoredReservation, Ticket,
};
use catalog::domain::{
    Bouquet, BouquetChange, Category, Flower, FlowerChange, Line, Product, ReservationStatus, Stock,
    StockDelta,
};
use contracts::{BouquetId, CategoryId, Event, EventId, FlowerId, OrderId, Timestamp};
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};
use uuid::Uuid;

const SERVICE: Service = Service::Catalog;

/// A reservation and what it took.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) order_id: OrderId,
    pub(crate) status: ReservationStatus,
    pub(crate) version: i64,
    pub(crate) taken: Vec<(FlowerId, i64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) common: Common,
    pub(crate) flowers: Vec<Flower>,
    /// Flowers that are no longer for sale. What was taken of them is put back all the same.
    pub(crate) deleted: Vec<Flower>,
    pub(crate) bouquets: Vec<Bouquet>,
    /// Bouquets that are no longer for sale.
    pub(crate) gone: Vec<Bouquet>,
    pub(crate) categories: Vec<Category>,
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
                    match self.bouquets.iter().find(|bouquet| bouquet.id == id) {
                        Some(bouquet) => bouquet
                            .items
                            .iter()
                            .for_each(|item| add(item.flower_id, quantity * i64::from(item.quantity.get()))),
                        // Of a bouquet that is not there, nothing is there.
                        None => add(id.as_uuid().into(), quantity),
                    }
                }
            }
        }
        needs
    }

    fn flower_mut(&mut self, id: FlowerId) -> Option<&mut Flower> {
        let mut all = self.flowers.iter_mut().chain(&mut self.deleted);
        all.find(|flower| flower.id == id)
    }

    /// Puts so many there, or takes them away. What that makes of the flower is for [`Self::touch`].
    fn move_stock(&mut self, world: &World, id: FlowerId, by: i64) {
        let Some(flower) = self.flower_mut(id) else {
            return;
        };
        let stock = i64::from(flower.stock_quantity) + by;
        if stock < 0 {
            world.violate(Invariant::StockIsNeverNegative, |world| {
                format!("there are {stock} of {}", world.name("flower", id.as_uuid()))
            });
        }
        flower.stock_quantity = i32::try_from(stock.max(0)).unwrap_or(i32::MAX);
    }

    /// A flower whose stock is another has another version.
    fn touch(&mut self, id: FlowerId, at: Timestamp) {
        if let Some(flower) = self.flower_mut(id) {
            flower.version += 1;
            flower.updated_at = flower.updated_at.max(at);
        }
    }

    /// How much there is of every flower.
    fn stocks(&self) -> Vec<(FlowerId, i32)> {
        let all = self.flowers.iter().chain(&self.deleted);
        all.map(|flower| (flower.id, flower.stock_quantity)).collect()
    }

    fn is_in_a_bouquet(&self, id: FlowerId) -> bool {
        let mut items = self.bouquets.iter().flat_map(|bouquet| &bouquet.items);
        items.any(|item| item.flower_id == id)
    }

    /// The foreign keys of a bouquet: to flowers that live, and to its category.
    fn has_parts_of(&self, bouquet: &Bouquet) -> bool {
        let mut items = bouquet.items.iter();
        items.all(|item| self.flower(item.flower_id).is_some())
            && self
                .categories
                .iter()
                .any(|category| category.id == bouquet.category_id)
    }

    /// The unique names of categories.
    fn is_name_taken(&self, by_another: &Category) -> bool {
        let mut categories = self.categories.iter();
        categories.any(|category| category.name == by_another.name && category.id != by_another.id)
    }

    fn tell(
        &mut self,
        world: &World,
        transaction: &mut Transaction,
        event: Option<Event>,
        trace: &Traceparent,
    ) {
        if let Some(event) = event {
            transaction.tell(world, SERVICE, &mut self.common, &event, None, trace);
        }
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

    async fn store(&self, changes: &[ReservationChange], at: Timestamp) -> Result<Stored, StoreError> {
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
            |_| Ok(Stored::default()),
            move |world, transaction| {
                let database = &mut *world.catalog.borrow_mut();
                database.check(world, &changes)?;
                let mut stored = Stored::default();
                let before = database.stocks();
                // What is put back can be taken by the same statement.
                let (back, rest): (Vec<_>, Vec<_>) = changes
                    .iter()
                    .partition(|change| change.reservation.status() == Some(ReservationStatus::Released));
                for change in back.into_iter().chain(rest) {
                    if database.store(world, transaction, change) {
                        stored.orders.push(change.order_id);
                    }
                }
                for (before, after) in before.into_iter().zip(database.stocks()) {
                    if before != after {
                        database.touch(after.0, at);
                        stored.flowers.push(after.0);
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

    async fn insert(&self, change: &FlowerChange, trace: &Traceparent) -> Result<(), FlowerError> {
        let (change, trace) = (change.clone(), trace.clone());
        let writes = Writes {
            locks: Vec::new(),
            try_lock: None,
            rows: 1,
        };
        let inserted = write(
            &self.0,
            SERVICE,
            writes,
            |_| Ok(()),
            move |world, transaction| {
                let database = &mut *world.catalog.borrow_mut();
                database.flowers.push(change.flower.clone());
                database.tell(world, transaction, change.event.clone().map(Event::from), &trace);
                Ok(())
            },
        )
        .await;
        Ok(inserted?)
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
            |_| Ok(Ok(false)),
            move |world, transaction| {
                let database = &mut *world.catalog.borrow_mut();
                let id = change.flower.id;
                let Some(position) = database.flowers.iter().position(|flower| flower.id == id) else {
                    return Ok(Ok(false));
                };
                let flower = &mut database.flowers[position];
                if flower.version != change.decided_on() {
                    return Ok(Ok(false));
                }
                if change.deleted && database.is_in_a_bouquet(id) {
                    return Ok(Err(FlowerError::InBouquet));
                }
                let flower = &mut database.flowers[position];
                database.corrected += i64::from(change.flower.stock_quantity - flower.stock_quantity);
                flower.clone_from(&change.flower);
                if change.deleted {
                    let flower = database.flowers.remove(position);
                    database.deleted.push(flower);
                }
                database.tell(world, transaction, change.event.clone().map(Event::from), &trace);
                Ok(Ok(true))
            },
        )
        .await;
        stored?
    }

    async fn add_stock(
        &self,
        id: FlowerId,
        delta: StockDelta,
        at: Timestamp,
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
            |_| Ok(None),
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
                database.touch(id, at);
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

impl Port {
    /// Runs a statement of an admin's. What locks what is as Postgres' foreign keys have it.
    async fn administer<T: 'static>(
        &self,
        locks: Vec<Uuid>,
        statement: impl Fn(&World, &mut Database, &mut Transaction) -> T + 'static,
    ) -> Result<T, StoreError> {
        let writes = Writes {
            locks,
            try_lock: None,
            rows: 1,
        };
        let in_flight = |_: &World| Err(StoreError::Contention);
        write(&self.0, SERVICE, writes, in_flight, move |world, transaction| {
            Ok(statement(world, &mut world.catalog.borrow_mut(), transaction))
        })
        .await
    }
}

fn locks_of(bouquet: &Bouquet) -> Vec<Uuid> {
    let flowers = bouquet.items.iter().map(|item| item.flower_id.as_uuid());
    let others = [bouquet.id.as_uuid(), bouquet.category_id.as_uuid()];
    flowers.chain(others).collect()
}

impl Bouquets for Port {
    async fn find(&self, id: BouquetId) -> Result<Option<Bouquet>, StoreError> {
        read(&self.0, SERVICE, move |world| {
            let database = world.catalog.borrow();
            Ok(database.bouquets.iter().find(|bouquet| bouquet.id == id).cloned())
        })
        .await
    }

    async fn list(&self, _: BouquetFilter, page: PageQuery) -> Result<Page<Bouquet>, StoreError> {
        Ok(Page::new(page, 0, Vec::new()))
    }

    async fn known_parts(
        &self,
        flowers: &[FlowerId],
        category: CategoryId,
    ) -> Result<KnownParts, StoreError> {
        let flowers = flowers.to_vec();
        read(&self.0, SERVICE, move |world| {
            let database = world.catalog.borrow();
            let live = flowers.iter().filter(|id| database.flower(**id).is_some());
            Ok(KnownParts {
                flowers: live.copied().collect(),
                category: database.categories.iter().any(|known| known.id == category),
            })
        })
        .await
    }

    async fn insert(&self, change: &BouquetChange, trace: &Traceparent) -> Result<(), BouquetError> {
        let (change, trace) = (change.clone(), trace.clone());
        self.administer(locks_of(&change.bouquet), move |world, database, transaction| {
            if !database.has_parts_of(&change.bouquet) {
                return Err(BouquetError::PartDeleted);
            }
            database.bouquets.push(change.bouquet.clone());
            database.tell(world, transaction, change.event.clone().map(Event::from), &trace);
            Ok(())
        })
        .await?
    }

    async fn store(&self, change: &BouquetChange, trace: &Traceparent) -> Result<bool, BouquetError> {
        let (change, trace) = (change.clone(), trace.clone());
        self.administer(locks_of(&change.bouquet), move |world, database, transaction| {
            let is_it =
                |bouquet: &Bouquet| (bouquet.id, bouquet.version) == (change.bouquet.id, change.decided_on());
            let Some(position) = database.bouquets.iter().position(is_it) else {
                return Ok(false);
            };
            if change.deleted {
                database.bouquets.remove(position);
                database.gone.push(change.bouquet.clone());
            } else if database.has_parts_of(&change.bouquet) {
                database.bouquets[position].clone_from(&change.bouquet);
            } else {
                return Err(BouquetError::PartDeleted);
            }
            database.tell(world, transaction, change.event.clone().map(Event::from), &trace);
            Ok(true)
        })
        .await?
    }
}

impl Categories for Port {
    async fn find(&self, id: CategoryId) -> Result<Option<Category>, StoreError> {
        read(&self.0, SERVICE, move |world| {
            let database = world.catalog.borrow();
            Ok(database
                .categories
                .iter()
                .find(|category| category.id == id)
                .cloned())
        })
        .await
    }

    async fn list(&self, page: PageQuery) -> Result<Page<Category>, StoreError> {
        Ok(Page::new(page, 0, Vec::new()))
    }

    async fn insert(&self, category: &Category) -> Result<(), CategoryError> {
        let category = category.clone();
        self.administer(Vec::new(), move |_, database, _| {
            if database.is_name_taken(&category) {
                return Err(CategoryError::NameTaken);
            }
            database.categories.push(category.clone());
            Ok(())
        })
        .await?
    }

    async fn store(&self, category: &Category) -> Result<bool, CategoryError> {
        let category = category.clone();
        self.administer(vec![category.id.as_uuid()], move |_, database, _| {
            let is_it = |known: &Category| (known.id, known.version) == (category.id, category.version - 1);
            let Some(position) = database.categories.iter().position(is_it) else {
                return Ok(false);
            };
            if database.is_name_taken(&category) {
                return Err(CategoryError::NameTaken);
            }
            database.categories[position].clone_from(&category);
            Ok(true)
        })
        .await?
    }

    async fn delete(&self, category: &Category) -> Result<bool, CategoryError> {
        let category = category.clone();
        self.administer(vec![category.id.as_uuid()], move |_, database, _| {
            let is_it = |known: &Category| (known.id, known.version) == (category.id, category.version);
            let Some(position) = database.categories.iter().position(is_it) else {
                return Ok(false);
            };
            let mut bouquets = database.bouquets.iter();
            if bouquets.any(|bouquet| bouquet.category_id == category.id) {
                return Err(CategoryError::HasBouquets);
            }
            database.categories.remove(position);
            Ok(true)
        })
        .await?
    }
}

impl FlowerCache for Port {
    async fn flower(&self, _: FlowerId) -> Lookup<Representation> {
        std::future::pending().await
    }

    async fn keep_flower(&self, _: FlowerId, _: Ticket, _: &Representation) {}

    async fn give_back(&self, _: FlowerId, _: Ticket) {}

    async fn list(&self, _: &FlowerFilter, _: PageQuery) -> Lookup<Listing> {
        std::future::pending().await
    }

    async fn keep_list(&self, _: &FlowerFilter, _: PageQuery, _: Ticket, _: &Listing) {}

    async fn forget(&self, _: &[FlowerId]) {}
}
