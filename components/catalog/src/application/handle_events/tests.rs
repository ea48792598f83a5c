//! The use case against stores in memory. Their stock has one flower, for how a cart is served is the statement's.

use super::*;
use crate::application::{FlowerFilter, Listing, Lookup, Representation, Stored, Ticket};
use crate::domain::ReservationStatus::{self, Rejected, Released, Reserved, Sold, Withdrawn};
use contracts::{
    FlowerId, Money, OrderCancelled, OrderCompleted, OrderCreated, OrderLine, OrderPaid, PaymentMethod,
    UserId,
};
use event_batch::Outcome::{self, Duplicate, Processed, Rejected as Refused, Retry};
use futures::FutureExt as _;
use service::PageQuery;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};

/// What befalls one call of `store`.
enum Fault {
    /// It fails before anything is stored.
    Before(StoreError),
    /// It fails after all is stored.
    After(StoreError),
    /// Somebody else is faster with every order.
    Raced,
}

struct InMemory {
    flower: FlowerId,
    stock: Cell<u32>,
    reservations: RefCell<HashMap<OrderId, (StoredReservation, u32)>>,
    inbox: RefCell<HashSet<EventId>>,
    told: RefCell<Vec<&'static str>>,
    faults: RefCell<VecDeque<Fault>>,
    forgotten: RefCell<Vec<FlowerId>>,
}

impl InMemory {
    fn with_stock(stock: u32) -> Self {
        Self {
            flower: FlowerId::new(),
            stock: Cell::new(stock),
            reservations: RefCell::default(),
            inbox: RefCell::default(),
            told: RefCell::default(),
            faults: RefCell::default(),
            forgotten: RefCell::default(),
        }
    }

    fn failing(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.faults.borrow_mut().extend(faults);
        self
    }

    fn created(&self, order_id: OrderId, quantity: u32) -> Received {
        received(OrderCreated {
            order_id,
            user_id: UserId::new(),
            total: Money::ZERO,
            payment_method: PaymentMethod::Visa,
            payment_due_at: None,
            items: vec![OrderLine {
                flower_id: Some(self.flower),
                bouquet_id: None,
                quantity,
                price: Money::ZERO,
            }],
        })
    }

    fn handle(&self, batch: &[Received]) -> Result<Vec<Outcome>, StoreError> {
        let handled = handle_events(self, self, batch.to_vec())
            .now_or_never()
            .unwrap()?;
        assert_eq!(handled.len(), batch.len());
        let of = |received: &Received| handled.iter().find(|handled| handled.id == received.id);
        Ok(batch
            .iter()
            .map(|received| of(received).unwrap().outcome)
            .collect())
    }

    fn status(&self, order_id: OrderId) -> Option<ReservationStatus> {
        let reservations = self.reservations.borrow();
        reservations.get(&order_id).map(|(stored, _)| stored.status)
    }

    fn apply(&self, change: &ReservationChange) -> bool {
        let mut reservations = self.reservations.borrow_mut();
        let before = reservations.get(&change.order_id).cloned();
        if before.as_ref().map_or(0, |(stored, _)| stored.version) != change.version {
            return false;
        }
        let needed: u32 = change
            .reservation
            .lines()
            .iter()
            .map(|line| line.quantity.get())
            .sum();
        let status = change.reservation.status().unwrap_or_else(|| {
            let is_enough = self.stock.get() >= needed;
            let answer = change
                .outgoing
                .iter()
                .find(|answer| answer.is_reserved == is_enough);
            self.told.borrow_mut().push(answer.unwrap().event.event_type());
            if is_enough { Reserved } else { Rejected }
        });
        let mut taken = before.as_ref().map_or(0, |(_, taken)| *taken);
        let status_before = before.map(|(stored, _)| stored.status);
        if status == Reserved && status_before.is_none() {
            self.stock.set(self.stock.get() - needed);
            taken = needed;
        }
        if status == Released && status_before == Some(Reserved) {
            self.stock.set(self.stock.get() + taken);
        }
        let stored = StoredReservation {
            order_id: change.order_id,
            status,
            version: change.version + 1,
            flowers: (taken > 0).then_some(self.flower).into_iter().collect(),
        };
        reservations.insert(change.order_id, (stored, taken));
        self.inbox.borrow_mut().extend(&change.handled);
        true
    }
}

impl Reservations for InMemory {
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let (known, inbox) = (self.reservations.borrow(), self.inbox.borrow());
        let stored = orders.iter().filter_map(|id| known.get(id));
        Ok(Loaded {
            reservations: stored.map(|(stored, _)| stored.clone()).collect(),
            handled: events.iter().filter(|id| inbox.contains(id)).copied().collect(),
        })
    }

    async fn store(&self, changes: &[ReservationChange], _: Timestamp) -> Result<Stored, StoreError> {
        let fault = self.faults.borrow_mut().pop_front();
        match &fault {
            Some(Fault::Before(error)) => return Err(error.clone()),
            Some(Fault::Raced) => return Ok(Stored::default()),
            _ => {}
        }
        let stock = self.stock.get();
        let orders = changes.iter().filter(|change| self.apply(change));
        let orders = orders.map(|change| change.order_id).collect();
        match fault {
            Some(Fault::After(error)) => Err(error),
            _ => Ok(Stored {
                orders,
                flowers: (self.stock.get() != stock)
                    .then_some(self.flower)
                    .into_iter()
                    .collect(),
            }),
        }
    }
}

impl FlowerCache for InMemory {
    async fn flower(&self, _: FlowerId) -> Lookup<Representation> {
        Lookup::Miss(Ticket(None))
    }

    async fn keep_flower(&self, _: FlowerId, _: Ticket, _: &Representation) {}

    async fn give_back(&self, _: FlowerId, _: Ticket) {}

    async fn list(&self, _: &FlowerFilter, _: PageQuery) -> Lookup<Listing> {
        Lookup::Miss(Ticket(None))
    }

    async fn keep_list(&self, _: &FlowerFilter, _: PageQuery, _: Ticket, _: &Listing) {}

    async fn forget(&self, ids: &[FlowerId]) {
        self.forgotten.borrow_mut().extend(ids);
    }
}

fn received(event: impl Into<Event>) -> Received {
    Received {
        id: EventId::new(),
        traceparent: None,
        occurred_at: None,
        event: event.into(),
    }
}

fn cancelled(order_id: OrderId) -> Received {
    let reason = "cancelled_by_user".to_owned();
    received(OrderCancelled { order_id, reason })
}

#[test]
fn an_order_is_answered_and_the_cache_forgets_what_it_took() {
    let shop = InMemory::with_stock(5);
    let (first, second) = (OrderId::new(), OrderId::new());
    let batch = [shop.created(first, 4), shop.created(second, 2)];
    assert_eq!(shop.handle(&batch), Ok(vec![Processed; 2]));
    assert_eq!(
        (shop.status(first), shop.status(second)),
        (Some(Reserved), Some(Rejected))
    );
    assert_eq!(*shop.told.borrow(), ["StockReserved", "StockRejected"]);
    assert_eq!((shop.stock.get(), shop.forgotten.borrow().len()), (1, 1));
}

#[test]
fn a_cancellation_puts_the_stock_back_once() {
    let shop = InMemory::with_stock(5);
    let order = OrderId::new();
    assert_eq!(shop.handle(&[shop.created(order, 4)]), Ok(vec![Processed]));
    let cancellation = cancelled(order);
    assert_eq!(
        shop.handle(std::slice::from_ref(&cancellation)),
        Ok(vec![Processed])
    );
    let again = [cancellation, cancelled(order)];
    assert_eq!(shop.handle(&again), Ok(vec![Duplicate, Processed]));
    assert_eq!((shop.status(order), shop.stock.get()), (Some(Released), 5));
}

#[test]
fn an_order_cancelled_before_it_came_or_with_it_takes_nothing_and_is_not_told_of() {
    let shop = InMemory::with_stock(5);
    let (early, both) = (OrderId::new(), OrderId::new());
    assert_eq!(shop.handle(&[cancelled(early)]), Ok(vec![Processed]));
    let batch = [shop.created(early, 1), shop.created(both, 1), cancelled(both)];
    assert_eq!(shop.handle(&batch), Ok(vec![Processed; 3]));
    assert_eq!(
        (shop.status(early), shop.status(both)),
        (Some(Withdrawn), Some(Withdrawn))
    );
    assert!(shop.told.borrow().is_empty());
    assert_eq!(shop.stock.get(), 5);
}

#[test]
fn a_completed_order_has_its_flowers_and_a_completion_that_comes_first_waits() {
    let shop = InMemory::with_stock(5);
    let order_id = OrderId::new();
    let completed = [received(OrderCompleted { order_id })];
    assert_eq!(shop.handle(&completed), Ok(vec![Retry]));
    let [completion] = &completed;
    let batch = [shop.created(order_id, 1), completion.clone()];
    assert_eq!(shop.handle(&batch), Ok(vec![Processed, Retry]));
    assert_eq!(shop.handle(&completed), Ok(vec![Processed]));
    assert_eq!((shop.status(order_id), shop.stock.get()), (Some(Sold), 4));
}

#[test]
fn what_is_not_for_the_catalog_or_no_order_is_rejected_and_the_rest_handled() {
    let shop = InMemory::with_stock(5);
    let order_id = OrderId::new();
    let foreign = received(OrderPaid {
        order_id,
        user_id: UserId::new(),
        delivery_address: "1 Rose Street".to_owned(),
    });
    let batch = [
        foreign,
        shop.created(OrderId::new(), 0),
        shop.created(order_id, 1),
    ];
    assert_eq!(shop.handle(&batch), Ok(vec![Refused, Refused, Processed]));
}

#[test]
fn what_came_too_late_is_decided_again_and_put_off_after_three_tries() {
    let contention = || Fault::Before(StoreError::Contention);
    let taken = Fault::Before(StoreError::Constraint("reservations_pkey".to_owned()));
    let shop = InMemory::with_stock(5).failing([contention(), taken]);
    assert_eq!(
        shop.handle(&[shop.created(OrderId::new(), 1)]),
        Ok(vec![Processed])
    );
    let shop = InMemory::with_stock(5).failing([contention(), Fault::Raced, Fault::Raced]);
    let batch = [shop.created(OrderId::new(), 1)];
    assert_eq!(shop.handle(&batch), Ok(vec![Retry]));
    assert_eq!(shop.handle(&batch), Ok(vec![Processed]));
    assert_eq!(shop.stock.get(), 4);
}

#[test]
fn a_batch_whose_end_is_unknown_has_its_effect_once_and_the_cache_forgets_it_in_the_end() {
    let lost = Fault::After(StoreError::Unavailable("a test".to_owned()));
    let shop = InMemory::with_stock(5).failing([lost]);
    let batch = [shop.created(OrderId::new(), 1)];
    assert!(shop.handle(&batch).is_err());
    assert!(shop.forgotten.borrow().is_empty());
    assert_eq!(shop.handle(&batch), Ok(vec![Duplicate]));
    assert_eq!((shop.stock.get(), shop.forgotten.borrow().len()), (4, 1));
}
