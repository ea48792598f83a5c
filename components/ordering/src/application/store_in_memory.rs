//! Ordering's port in memory, for the tests of the use cases: it keeps the port's contract, and is disturbed as told.

use super::ports::{
    CatalogChange, Change, HistoryItem, Keyed, Loaded, NoteItem, OrderFilter, Orders, Outgoing, StoredHistory,
};
use crate::domain::{Address, Cart, CartLine, CatalogItem, Customer, Fact, Order, Product, Quantity, decide};
use contracts::{Event, EventId, FlowerId, Money, OrderId, PaymentMethod, Timestamp, UserId};
use service::idempotency::{IdempotencyKey, KeptAnswer, KeptAnswers, Known, Verdict};
use service::{Page, PageQuery, StoreError};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// What befalls one call that stores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// Two transactions met: nothing is stored.
    Contention,
    /// The order hears this before.
    Raced(Fact),
}

#[derive(Default)]
pub(super) struct InMemory {
    orders: RefCell<HashMap<OrderId, Order>>,
    catalog: RefCell<Vec<CatalogItem>>,
    inbox: RefCell<HashSet<EventId>>,
    answers: RefCell<Vec<(IdempotencyKey, KeptAnswer)>>,
    faults: RefCell<VecDeque<Fault>>,
    pub(super) history: RefCell<Vec<HistoryItem>>,
    pub(super) notes: RefCell<Vec<NoteItem>>,
    pub(super) outbox: RefCell<Vec<Outgoing>>,
}

impl InMemory {
    pub(super) fn failing(faults: impl IntoIterator<Item = Fault>) -> Self {
        let store = Self::default();
        store.faults.borrow_mut().extend(faults);
        store
    }

    /// A flower that can be bought.
    pub(super) fn with_flower(&self) -> Product {
        let product = Product::Flower(FlowerId::new());
        let price = Money::rub(15_000).unwrap();
        self.catalog.borrow_mut().push(CatalogItem { product, price });
        product
    }

    /// An order that has heard of this.
    pub(super) fn with_order(&self, heard: &[Fact]) -> OrderId {
        let product = self.with_flower();
        let catalog = self.catalog.borrow();
        let now = Timestamp::now();
        let mut order = cart_of(product)
            .place(customer(), None, &catalog, now, Duration::from_secs(900))
            .unwrap();
        for fact in heard {
            let decision = decide(&order, *fact);
            order.take(*fact, &decision);
        }
        let id = order.id;
        self.orders.borrow_mut().insert(id, order);
        id
    }

    pub(super) fn order(&self, id: OrderId) -> Order {
        self.orders.borrow()[&id].clone()
    }

    pub(super) fn order_count(&self) -> usize {
        self.orders.borrow().len()
    }

    /// The types of what was told, oldest first.
    pub(super) fn told(&self) -> Vec<&'static str> {
        let outbox = self.outbox.borrow();
        outbox
            .iter()
            .map(|outgoing| outgoing.event.event_type())
            .collect()
    }

    fn disturbed(&self, id: OrderId) -> Result<(), StoreError> {
        match self.faults.borrow_mut().pop_front() {
            Some(Fault::Contention) => Err(StoreError::Contention),
            Some(Fault::Raced(fact)) => {
                if let Some(order) = self.orders.borrow_mut().get_mut(&id) {
                    let decision = decide(order, fact);
                    order.take(fact, &decision);
                    order.version += 1;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn known(&self, key: &IdempotencyKey) -> Option<Known> {
        let answers = self.answers.borrow();
        // A test uses one key, with one body or with two.
        let (other, answer) = answers.first()?;
        Some(if other == key {
            Known::Answered(answer.clone())
        } else {
            Known::OtherBody
        })
    }

    fn keep_answer(&self, keyed: Option<Keyed<'_>>) {
        let kept = keyed.map(|(key, answer)| (key.clone(), answer.clone()));
        self.answers.borrow_mut().extend(kept);
    }

    fn store_one(&self, change: &Change) -> bool {
        let mut orders = self.orders.borrow_mut();
        let order = orders.get_mut(&change.order_id);
        let Some(order) = order.filter(|order| order.version == change.version) else {
            return false;
        };
        order.status = change.status;
        order.status_reason = change.status_reason;
        order.payment_attempt = change.payment_attempt;
        order.stock_reserved = change.stock_reserved;
        order.updated_at = change.at;
        order.version += 1;
        self.inbox.borrow_mut().extend(&change.handled);
        self.history.borrow_mut().extend(change.history.iter().cloned());
        self.notes.borrow_mut().extend(change.notes.iter().cloned());
        self.outbox.borrow_mut().extend(change.outgoing.iter().cloned());
        true
    }
}

pub(super) fn customer() -> Customer {
    Customer {
        user_id: UserId::new(),
        delivery_address: Address::try_from("1 Rose Street".to_owned()).unwrap(),
        payment_method: PaymentMethod::Visa,
    }
}

pub(super) fn cart_of(product: Product) -> Cart {
    let quantity = Quantity::try_from(1).unwrap();
    Cart::try_from(vec![CartLine { product, quantity }]).unwrap()
}

/// A key of this user, sent with this body.
pub(super) fn key(user_id: UserId, body: &str) -> IdempotencyKey {
    IdempotencyKey::new(
        user_id,
        "POST /orders".to_owned(),
        "k".to_owned(),
        body.as_bytes(),
    )
}

/// An answer that shows which order it is about, and how that stands.
pub(super) fn answer(order: &Order) -> KeptAnswer {
    let body = serde_json::json!({"id": order.id, "status": order.status.as_str()});
    KeptAnswer::of(&service::Response::json(http::StatusCode::OK, &body))
}

impl KeptAnswers for InMemory {
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Verdict, StoreError> {
        if let Some(known) = self.known(key) {
            return Ok(Verdict::Known(known));
        }
        self.keep_answer(Some((key, answer)));
        Ok(Verdict::Stored)
    }
}

impl Orders for InMemory {
    async fn catalog_items(&self, products: &[Product]) -> Result<Vec<CatalogItem>, StoreError> {
        let catalog = self.catalog.borrow();
        let items = catalog.iter().filter(|item| products.contains(&item.product));
        Ok(items.copied().collect())
    }

    async fn insert(
        &self,
        order: &Order,
        history: &HistoryItem,
        outgoing: &[Outgoing],
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError> {
        self.disturbed(order.id)?;
        if let Some(known) = keyed.and_then(|(key, _)| self.known(key)) {
            return Ok(Verdict::Known(known));
        }
        self.keep_answer(keyed);
        self.orders.borrow_mut().insert(order.id, order.clone());
        self.history.borrow_mut().push(history.clone());
        self.outbox.borrow_mut().extend(outgoing.iter().cloned());
        Ok(Verdict::Stored)
    }

    async fn find(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError> {
        let order = self.orders.borrow().get(&id).cloned();
        Ok(order.filter(|order| owner.is_none_or(|owner| owner == order.user_id)))
    }

    async fn list(&self, _: OrderFilter, page: PageQuery) -> Result<Page<Order>, StoreError> {
        Ok(Page::new(page, 0, Vec::new()))
    }

    async fn history(&self, _: OrderId, _: Option<UserId>) -> Result<Option<StoredHistory>, StoreError> {
        Ok(None)
    }

    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let (stored, inbox) = (self.orders.borrow(), self.inbox.borrow());
        Ok(Loaded {
            orders: orders.iter().filter_map(|id| stored.get(id).cloned()).collect(),
            handled: events.iter().filter(|id| inbox.contains(id)).copied().collect(),
        })
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        for change in changes {
            self.disturbed(change.order_id)?;
            if change.handled.iter().any(|id| self.inbox.borrow().contains(id)) {
                return Err(StoreError::Constraint("inbox_pkey".to_owned()));
            }
        }
        let stored = changes.iter().filter(|change| self.store_one(change));
        Ok(stored.map(|change| change.order_id).collect())
    }

    async fn store_requested(
        &self,
        change: &Change,
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError> {
        self.disturbed(change.order_id)?;
        if let Some(known) = keyed.and_then(|(key, _)| self.known(key)) {
            return Ok(Verdict::Known(known));
        }
        if !self.store_one(change) {
            return Err(StoreError::Contention);
        }
        self.keep_answer(keyed);
        Ok(Verdict::Stored)
    }

    async fn store_catalog(&self, _: &[CatalogChange]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The event, as the bridge hands it over.
pub(super) fn received(event: impl Into<Event>) -> contracts::Received {
    contracts::Received {
        id: EventId::new(),
        traceparent: None,
        occurred_at: None,
        event: event.into(),
    }
}
