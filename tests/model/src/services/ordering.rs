//! Ordering's tables, and its port on them.

use crate::database::{Common, Transaction, Writes, read, write};
use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::world::{DAY, Micros, Process, Service, Shop, World};
use contracts::{EventId, Money, OrderId, UserId};
use ordering::application::{
    CatalogChange, Change, HistoryItem, Keyed, Loaded, NoteItem, OrderFilter, Orders, Outgoing, StoredHistory,
};
use ordering::domain::{CatalogItem, Order, OrderStatus, Product};
use service::idempotency::{IdempotencyKey, KeptAnswer, KeptAnswers, Known, Verdict};
use service::{Page, PageQuery, StoreError};
use uuid::Uuid;

const SERVICE: Service = Service::Ordering;

/// What the catalog told of a product.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) product: Product,
    pub(crate) name: String,
    pub(crate) price: Money,
    pub(crate) version: i64,
    pub(crate) deleted: bool,
}

/// A row of `idempotency_keys`.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) key: IdempotencyKey,
    pub(crate) answer: KeptAnswer,
    since: Micros,
}

/// What an order's history has: of which order, with which of its versions, and as the how-manieth of that.
pub(crate) type Line<T> = (OrderId, i64, usize, T);

#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) common: Common,
    pub(crate) orders: Vec<Order>,
    pub(crate) items: Vec<Item>,
    pub(crate) history: Vec<Line<HistoryItem>>,
    pub(crate) notes: Vec<Line<NoteItem>>,
    pub(crate) keys: Vec<Key>,
}

impl Database {
    pub(crate) fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.iter().find(|order| order.id == id)
    }

    fn known(&self, world: &World, key: &IdempotencyKey) -> Option<Known> {
        if world.breaks(Mutation::ForgetTheKey) {
            return None;
        }
        let kept = self.keys.iter().find(|kept| kept.key.is_same_key(key))?;
        if kept.since + DAY <= world.wall() {
            return None;
        }
        Some(if kept.key == *key {
            Known::Answered(kept.answer.clone())
        } else {
            Known::OtherBody
        })
    }

    /// What a request is told whose key's lock is taken.
    fn in_flight(world: &World, key: Option<&IdempotencyKey>) -> Verdict {
        let database = world.ordering.borrow();
        let known = key.and_then(|key| database.known(world, key));
        Verdict::Known(known.unwrap_or(Known::InFlight))
    }

    fn keep(&mut self, world: &World, (key, answer): (IdempotencyKey, KeptAnswer)) {
        self.keys.retain(|kept| !kept.key.is_same_key(&key));
        let since = world.wall();
        self.keys.push(Key { key, answer, since });
    }

    fn store(&mut self, world: &World, transaction: &mut Transaction, change: &Change) -> bool {
        let position = self.orders.iter().position(|order| order.id == change.order_id);
        let Some(order) = position.and_then(|position| self.orders.get_mut(position)) else {
            return false;
        };
        if order.version != change.version && !world.breaks(Mutation::GateWithoutTheVersion) {
            self.common.handle_without_effect(world, SERVICE, &change.handled);
            return false;
        }
        let is_final = matches!(order.status, OrderStatus::Completed | OrderStatus::Cancelled);
        if is_final && order.status != change.status {
            let (was, is) = (order.status.as_str(), change.status.as_str());
            world.violate(Invariant::FinalIsFinal, |world| {
                format!(
                    "{} was {was} and is {is}",
                    world.name("order", change.order_id.as_uuid())
                )
            });
        }
        if order.status != change.status {
            world.tell(Process::Component(SERVICE), |world| {
                format!(
                    "has {} {}",
                    world.name("order", change.order_id.as_uuid()),
                    change.status.as_str()
                )
            });
        }
        order.status = change.status;
        order.status_reason = change.status_reason;
        order.payment_attempt = change.payment_attempt;
        order.stock_reserved = change.stock_reserved;
        order.updated_at = change.at;
        order.version += 1;
        let (id, version) = (order.id, order.version);
        let lines = change.history.iter().cloned().enumerate();
        self.history
            .extend(lines.map(|(position, item)| (id, version, position, item)));
        let lines = change.notes.iter().cloned().enumerate();
        self.notes
            .extend(lines.map(|(position, item)| (id, version, position, item)));
        self.common.handle(world, SERVICE, &change.handled);
        self.tell(world, transaction, &change.outgoing);
        true
    }

    fn tell(&mut self, world: &World, transaction: &mut Transaction, outgoing: &[Outgoing]) {
        for outgoing in outgoing {
            let Outgoing { event, trace, due_at } = outgoing;
            transaction.tell(world, SERVICE, &mut self.common, event, *due_at, trace);
        }
    }
}

/// One request's view of the tables.
pub(crate) struct Port {
    pub(crate) world: Shop,
    /// What stands for the advisory lock of the request's idempotency key.
    pub(crate) key_lock: Option<Uuid>,
}

impl KeptAnswers for Port {
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Verdict, StoreError> {
        let (key, answer) = (key.clone(), answer.clone());
        let writes = Writes {
            locks: Vec::new(),
            try_lock: self.key_lock,
            rows: 0,
        };
        let asked = key.clone();
        write(
            &self.world,
            SERVICE,
            writes,
            move |world| Ok(Database::in_flight(world, Some(&asked))),
            move |world, _| {
                let database = &mut *world.ordering.borrow_mut();
                if let Some(known) = database.known(world, &key) {
                    return Ok(Verdict::Known(known));
                }
                database.keep(world, (key.clone(), answer.clone()));
                Ok(Verdict::Stored)
            },
        )
        .await
    }
}

fn owned(keyed: Option<Keyed<'_>>) -> Option<(IdempotencyKey, KeptAnswer)> {
    keyed.map(|(key, answer)| (key.clone(), answer.clone()))
}

impl Orders for Port {
    async fn catalog_items(&self, products: &[Product]) -> Result<Vec<CatalogItem>, StoreError> {
        let products = products.to_vec();
        read(&self.world, SERVICE, move |world| {
            let database = world.ordering.borrow();
            let items = database
                .items
                .iter()
                .filter(|item| !item.deleted && products.contains(&item.product));
            let item = |item: &Item| CatalogItem {
                product: item.product,
                price: item.price,
            };
            Ok(items.map(item).collect())
        })
        .await
    }

    async fn insert(
        &self,
        order: &Order,
        history: &HistoryItem,
        outgoing: &[Outgoing],
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError> {
        let (order, history) = (order.clone(), history.clone());
        let (outgoing, keyed) = (outgoing.to_vec(), owned(keyed));
        let writes = Writes {
            locks: Vec::new(),
            try_lock: self.key_lock.filter(|_| keyed.is_some()),
            rows: outgoing.len(),
        };
        let asked = keyed.as_ref().map(|(key, _)| key.clone());
        let in_flight = move |world: &World| Ok(Database::in_flight(world, asked.as_ref()));
        write(
            &self.world,
            SERVICE,
            writes,
            in_flight,
            move |world, transaction| {
                let database = &mut *world.ordering.borrow_mut();
                if let Some(known) = keyed.as_ref().and_then(|(key, _)| database.known(world, key)) {
                    return Ok(Verdict::Known(known));
                }
                if database.order(order.id).is_some() {
                    return Err(StoreError::Constraint("orders_pkey".to_owned()));
                }
                if let Some(keyed) = keyed.clone() {
                    database.keep(world, keyed);
                }
                world.tell(Process::Component(SERVICE), |world| {
                    format!("stores {}", world.name("order", order.id.as_uuid()))
                });
                database.orders.push(order.clone());
                let line = (order.id, order.version, 0, history.clone());
                database.history.push(line);
                database.tell(world, transaction, &outgoing);
                Ok(Verdict::Stored)
            },
        )
        .await
    }

    async fn find(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError> {
        read(&self.world, SERVICE, move |world| {
            let database = world.ordering.borrow();
            let order = database.order(id).cloned();
            Ok(order.filter(|order| owner.is_none_or(|owner| order.user_id == owner)))
        })
        .await
    }

    async fn list(&self, _: OrderFilter, page: PageQuery) -> Result<Page<Order>, StoreError> {
        Ok(Page::new(page, 0, Vec::new()))
    }

    async fn history(&self, _: OrderId, _: Option<UserId>) -> Result<Option<StoredHistory>, StoreError> {
        Ok(None)
    }

    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let (orders, events) = (orders.to_vec(), events.to_vec());
        read(&self.world, SERVICE, move |world| {
            let database = world.ordering.borrow();
            let asked = database.orders.iter().filter(|order| orders.contains(&order.id));
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
            locks: changes.iter().map(|change| change.order_id.as_uuid()).collect(),
            try_lock: None,
            rows: changes.iter().map(|change| change.outgoing.len()).sum(),
        };
        write(
            &self.world,
            SERVICE,
            writes,
            |_| Ok(Vec::new()),
            move |world, transaction| {
                let database = &mut *world.ordering.borrow_mut();
                for change in &changes {
                    let stands = database.order(change.order_id);
                    if stands.is_some_and(|order| order.version == change.version) {
                        database.common.check_new(world, &change.handled)?;
                    }
                }
                let mut stored = Vec::new();
                for change in &changes {
                    if database.store(world, transaction, change) {
                        stored.push(change.order_id);
                    }
                }
                Ok(stored)
            },
        )
        .await
    }

    async fn store_requested(
        &self,
        change: &Change,
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError> {
        let (change, keyed) = (change.clone(), owned(keyed));
        let writes = Writes {
            locks: vec![change.order_id.as_uuid()],
            try_lock: self.key_lock.filter(|_| keyed.is_some()),
            rows: change.outgoing.len(),
        };
        let asked = keyed.as_ref().map(|(key, _)| key.clone());
        let in_flight = move |world: &World| Ok(Database::in_flight(world, asked.as_ref()));
        write(
            &self.world,
            SERVICE,
            writes,
            in_flight,
            move |world, transaction| {
                let database = &mut *world.ordering.borrow_mut();
                if let Some(known) = keyed.as_ref().and_then(|(key, _)| database.known(world, key)) {
                    return Ok(Verdict::Known(known));
                }
                if !database.store(world, transaction, &change) {
                    return Err(StoreError::Contention);
                }
                if let Some(keyed) = keyed.clone() {
                    database.keep(world, keyed);
                }
                Ok(Verdict::Stored)
            },
        )
        .await
    }

    async fn store_catalog(&self, changes: &[CatalogChange]) -> Result<(), StoreError> {
        let changes = changes.to_vec();
        let writes = Writes {
            locks: changes.iter().map(|change| change.product.id()).collect(),
            try_lock: None,
            rows: 0,
        };
        write(
            &self.world,
            SERVICE,
            writes,
            |_| Ok(()),
            move |world, _| {
                let database = &mut *world.ordering.borrow_mut();
                for change in &changes {
                    // `on conflict do nothing`: the version decides, not the inbox.
                    if database.common.check_new(world, [&change.event_id]).is_ok() {
                        database.common.handle(world, SERVICE, &[change.event_id]);
                    }
                    let known = database
                        .items
                        .iter_mut()
                        .find(|item| item.product == change.product);
                    match known {
                        Some(item) if item.version < change.version => {
                            item.name.clone_from(&change.name);
                            item.price = change.price;
                            item.version = change.version;
                            item.deleted = change.deleted;
                        }
                        Some(_) => {}
                        None => database.items.push(Item {
                            product: change.product,
                            name: change.name.clone(),
                            price: change.price,
                            version: change.version,
                            deleted: change.deleted,
                        }),
                    }
                }
                Ok(())
            },
        )
        .await
    }
}
