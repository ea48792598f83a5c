//! The use case between a store and a provider in memory, both of which can fail at any step.

use super::super::ports::Opened;
use super::*;
use crate::domain::{ChargeKey, FailureReason, Payment, PaymentStatus};
use contracts::{Money, OrderCompleted, OrderCreated, OrderId, PaymentMethod, UserId};
use event_batch::Outcome;
use futures::executor::block_on;
use proptest::prelude::*;
use service::{Page, PageQuery};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};

/// What befalls one call of the store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// It fails before anything is stored.
    Lost,
    /// It fails after all is stored.
    Unknown,
    Contention,
    /// Somebody else is faster, and stores the same order or raises its version.
    Raced,
}

#[derive(Default)]
struct Store {
    orders: RefCell<HashMap<OrderId, Order>>,
    inbox: RefCell<HashSet<EventId>>,
    outbox: RefCell<Vec<Event>>,
    open_faults: RefCell<VecDeque<Fault>>,
    store_faults: RefCell<VecDeque<Fault>>,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("a test".to_owned())
}

impl Store {
    fn fails_to_open(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.open_faults.borrow_mut().extend(faults);
        self
    }

    fn fails_to_store(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.store_faults.borrow_mut().extend(faults);
        self
    }

    /// Somebody else's statement on the same order.
    fn meddle(&self, id: OrderId, first: Option<&Order>) {
        let mut orders = self.orders.borrow_mut();
        match (orders.get_mut(&id), first) {
            (Some(order), _) => order.version += 1,
            (None, Some(first)) => {
                let payment_id = PaymentId::new();
                let theirs = Order::open(first.placed.clone(), payment_id, Timestamp::now());
                orders.insert(id, theirs);
            }
            (None, None) => {}
        }
    }

    fn insert(&self, order: &Order) -> Standing {
        let mut orders = self.orders.borrow_mut();
        let is_new = !orders.contains_key(&order.id());
        let order = orders.entry(order.id()).or_insert_with(|| order.clone()).clone();
        Standing { order, is_new }
    }

    fn apply(&self, change: &Change) -> Result<bool, StoreError> {
        let mut orders = self.orders.borrow_mut();
        let mut inbox = self.inbox.borrow_mut();
        let order = orders.get_mut(&change.order_id).unwrap();
        if order.version != change.version {
            return Ok(false);
        }
        if change.handled.iter().any(|id| inbox.contains(id)) {
            return Err(StoreError::Constraint("inbox_pkey".to_owned()));
        }
        let payments = change.ended.iter().cloned().collect::<Vec<_>>();
        let payments = if payments.is_empty() {
            order.payments().to_vec()
        } else {
            payments
        };
        *order = Order::restore(order.placed.clone(), order.version + 1, payments);
        inbox.extend(change.handled.iter().copied());
        let events = change.outgoing.iter().map(|outgoing| outgoing.event.clone());
        self.outbox.borrow_mut().extend(events);
        Ok(true)
    }

    fn payment(&self, id: OrderId) -> Payment {
        self.orders.borrow()[&id].payments()[0].clone()
    }

    fn status(&self, id: OrderId) -> PaymentStatus {
        self.payment(id).state().status()
    }

    fn told(&self) -> Vec<&'static str> {
        self.outbox.borrow().iter().map(Event::event_type).collect()
    }
}

fn next(faults: &RefCell<VecDeque<Fault>>) -> Fault {
    faults.borrow_mut().pop_front().unwrap_or(Fault::None)
}

impl Orders for Store {
    async fn open(&self, orders: &[Order], events: &[EventId]) -> Result<Opened, StoreError> {
        let fault = next(&self.open_faults);
        match fault {
            Fault::Lost => return Err(unavailable()),
            Fault::Contention => return Err(StoreError::Contention),
            Fault::None | Fault::Unknown | Fault::Raced => {}
        }
        let mut opened = Opened::default();
        for order in orders {
            let known = self.orders.borrow().contains_key(&order.id());
            if fault == Fault::Raced && !known {
                self.meddle(order.id(), Some(order));
            } else {
                opened.orders.push(self.insert(order));
            }
        }
        let inbox = self.inbox.borrow();
        opened.handled = events.iter().filter(|id| inbox.contains(id)).copied().collect();
        if fault == Fault::Unknown {
            Err(unavailable())
        } else {
            Ok(opened)
        }
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        let fault = next(&self.store_faults);
        match fault {
            Fault::Lost => return Err(unavailable()),
            Fault::Contention => return Err(StoreError::Contention),
            Fault::Raced => changes
                .iter()
                .for_each(|change| self.meddle(change.order_id, None)),
            Fault::None | Fault::Unknown => {}
        }
        let mut stored = Vec::new();
        for change in changes {
            if self.apply(change)? {
                stored.push(change.order_id);
            }
        }
        if fault == Fault::Unknown {
            Err(unavailable())
        } else {
            Ok(stored)
        }
    }

    async fn find(&self, _: PaymentId, _: Option<UserId>) -> Result<Option<Payment>, StoreError> {
        Err(unavailable())
    }

    async fn list(
        &self,
        _: OrderId,
        _: Option<UserId>,
        _: PageQuery,
    ) -> Result<Option<Page<Payment>>, StoreError> {
        Err(unavailable())
    }
}

/// A provider with the cards of the simulated one. The slow card settles when it is looked up the second time.
#[derive(Default)]
struct Ledger {
    charges: RefCell<HashMap<ChargeKey, Verdict>>,
    looks: RefCell<HashMap<ChargeKey, u32>>,
    charge_calls: Cell<u32>,
    look_ups: Cell<u32>,
    is_down: Cell<bool>,
}

impl Provider for Ledger {
    async fn charge(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        self.charge_calls.set(self.charge_calls.get() + 1);
        if self.is_down.get() {
            return Err(NoAnswer);
        }
        let mut charges = self.charges.borrow_mut();
        let known = charges.get(&charge.key).cloned();
        let verdict = known.clone().unwrap_or_else(|| match charge.method {
            PaymentMethod::ChargeDeclined => Verdict::Declined(FailureReason::CardDeclined),
            _ => Verdict::Succeeded(format!("txn of {}", charge.key.as_str()).into()),
        });
        charges.insert(charge.key.clone(), verdict.clone());
        match charge.method {
            PaymentMethod::Slow => Err(NoAnswer),
            PaymentMethod::Flaky if known.is_none() => Err(NoAnswer),
            _ => Ok(verdict),
        }
    }

    async fn look_up(&self, key: &ChargeKey) -> Result<LookedUp, NoAnswer> {
        self.look_ups.set(self.look_ups.get() + 1);
        if self.is_down.get() {
            return Err(NoAnswer);
        }
        let mut looks = self.looks.borrow_mut();
        let look = looks.entry(key.clone()).or_default();
        *look += 1;
        Ok(match self.charges.borrow().get(key) {
            None => LookedUp::Unknown,
            Some(_) if *look == 1 => LookedUp::Pending,
            Some(verdict) => LookedUp::Settled(verdict.clone()),
        })
    }
}

impl Ledger {
    /// What it took or declined, however often it was asked.
    fn len(&self) -> usize {
        self.charges.borrow().len()
    }

    /// As [`Ledger::default`], but every charge has settled when it is looked up.
    fn with_charges_settled(self, orders: &Store) -> Self {
        for order in orders.orders.borrow().values() {
            let key = ChargeKey::of(order.payments()[0].attempt());
            self.looks.borrow_mut().insert(key, 1);
        }
        self
    }
}

fn placed(method: PaymentMethod) -> (OrderId, Received) {
    let order_id = OrderId::new();
    let event = OrderCreated {
        order_id,
        user_id: UserId::new(),
        total: Money::rub(15_000).unwrap(),
        payment_method: method,
        items: Vec::new(),
    };
    (order_id, received(event))
}

fn received(event: impl Into<Event>) -> Received {
    Received {
        id: EventId::new(),
        traceparent: None,
        occurred_at: None,
        event: event.into(),
    }
}

fn handle(store: &Store, ledger: &Ledger, batch: &[Received]) -> Result<Vec<Handled>, StoreError> {
    block_on(handle_events(store, ledger, batch.to_vec()))
}

/// The outcomes in the order of the batch.
fn outcomes(store: &Store, ledger: &Ledger, batch: &[Received]) -> Vec<Outcome> {
    let handled = handle(store, ledger, batch).unwrap();
    let of = |received: &Received| {
        let mut mine = handled.iter().filter(|handled| handled.id == received.id);
        let outcome = mine.next().unwrap().outcome;
        assert_eq!(mine.next(), None, "two outcomes for one event");
        outcome
    };
    batch.iter().map(of).collect()
}

#[test]
fn an_order_that_was_placed_is_charged_and_its_payment_told() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, event) = placed(PaymentMethod::Visa);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!((ledger.charge_calls.get(), ledger.look_ups.get()), (1, 0));
}

#[test]
fn a_declined_card_fails_the_payment_and_tells_it() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, event) = placed(PaymentMethod::ChargeDeclined);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Failed);
    assert_eq!(store.told(), ["PaymentFailed"]);
}

#[test]
fn an_event_that_comes_again_is_a_duplicate_and_asks_nobody() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (_, event) = placed(PaymentMethod::Visa);
    handle(&store, &ledger, std::slice::from_ref(&event)).unwrap();
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Duplicate]);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!((ledger.charge_calls.get(), ledger.look_ups.get()), (1, 0));
}

#[test]
fn an_event_twice_in_one_batch_has_its_effect_once() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (_, event) = placed(PaymentMethod::Visa);
    let handled = handle(&store, &ledger, &[event.clone(), event]).unwrap();
    assert_eq!(handled.len(), 1);
    assert_eq!(ledger.charge_calls.get(), 1);
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn an_order_told_of_by_another_event_is_not_charged_again() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, event) = placed(PaymentMethod::Visa);
    let again = received(event.event.clone());
    let third = received(event.event.clone());
    assert_eq!(
        outcomes(&store, &ledger, &[event, again]),
        [Outcome::Processed; 2]
    );
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&third)),
        [Outcome::Processed]
    );
    assert_eq!(outcomes(&store, &ledger, &[third]), [Outcome::Duplicate]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!(ledger.charge_calls.get(), 1);
}

#[test]
fn an_event_that_is_not_for_payment_is_rejected_and_the_rest_handled() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order_id, event) = placed(PaymentMethod::Visa);
    let foreign = received(OrderCompleted { order_id });
    let batch = [foreign, event];
    assert_eq!(
        outcomes(&store, &ledger, &batch),
        [Outcome::Rejected, Outcome::Processed]
    );
}

#[test]
fn an_attempt_whose_charge_never_reached_the_provider_is_looked_up_and_then_charged_under_its_key() {
    let (store, ledger) = (
        Store::default().fails_to_open([Fault::Unknown]),
        Ledger::default(),
    );
    let (order, event) = placed(PaymentMethod::Visa);
    assert!(handle(&store, &ledger, std::slice::from_ref(&event)).is_err());
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert_eq!(ledger.len(), 0);

    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!((ledger.charge_calls.get(), ledger.look_ups.get()), (1, 1));
    let key = ChargeKey::of(store.payment(order).attempt());
    assert!(ledger.charges.borrow().contains_key(&key));
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn an_attempt_whose_outcome_was_not_stored_is_looked_up_and_not_charged_again() {
    let (store, ledger) = (Store::default().fails_to_store([Fault::Lost]), Ledger::default());
    let (order, event) = placed(PaymentMethod::Visa);
    assert!(handle(&store, &ledger, std::slice::from_ref(&event)).is_err());
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert_eq!(ledger.len(), 1);

    let ledger = ledger.with_charges_settled(&store);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!((ledger.charge_calls.get(), ledger.look_ups.get()), (1, 1));
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn an_outcome_that_was_stored_though_the_answer_was_lost_is_a_duplicate_next_time() {
    let (store, ledger) = (
        Store::default().fails_to_store([Fault::Unknown]),
        Ledger::default(),
    );
    let (_, event) = placed(PaymentMethod::Visa);
    assert!(handle(&store, &ledger, std::slice::from_ref(&event)).is_err());
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Duplicate]);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!(ledger.charge_calls.get(), 1);
}

#[test]
fn a_provider_that_is_silent_puts_the_event_off_and_its_charge_is_found_later() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, event) = placed(PaymentMethod::Flaky);
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&event)),
        [Outcome::Retry]
    );
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert!(store.inbox.borrow().is_empty());
    assert!(store.told().is_empty());

    // Looked up: pending at first, then settled.
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&event)),
        [Outcome::Retry]
    );
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!(ledger.charge_calls.get(), 1);
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn a_provider_that_is_down_puts_events_off_and_charges_nothing() {
    let (store, ledger) = (Store::default(), Ledger::default());
    ledger.is_down.set(true);
    let (_, event) = placed(PaymentMethod::Visa);
    for _ in 0..5 {
        assert_eq!(
            outcomes(&store, &ledger, std::slice::from_ref(&event)),
            [Outcome::Retry]
        );
    }
    ledger.is_down.set(false);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn a_slow_charge_holds_back_nothing_else_of_its_batch() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (slow, first) = placed(PaymentMethod::Slow);
    let (quick, second) = placed(PaymentMethod::Visa);
    let batch = [first, second];
    assert_eq!(
        outcomes(&store, &ledger, &batch),
        [Outcome::Retry, Outcome::Processed]
    );
    assert_eq!(store.status(slow), PaymentStatus::Processing);
    assert_eq!(store.status(quick), PaymentStatus::Completed);
}

#[test]
fn an_order_whose_version_moved_on_is_decided_again() {
    for fault in [Fault::Raced, Fault::Contention] {
        let (store, ledger) = (Store::default().fails_to_store([fault]), Ledger::default());
        // Settled at its second look-up: the one that this test is about comes after a first.
        let (order, event) = placed(PaymentMethod::Visa);
        assert_eq!(
            outcomes(&store, &ledger, std::slice::from_ref(&event)),
            [Outcome::Retry]
        );
        assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
        assert_eq!(store.status(order), PaymentStatus::Completed);
        assert_eq!(store.told(), ["PaymentCompleted"]);
        assert_eq!(ledger.charge_calls.get(), 1);
    }
}

#[test]
fn an_order_that_keeps_changing_is_put_off_after_three_tries() {
    let store = Store::default().fails_to_open([Fault::Contention; 3]);
    let ledger = Ledger::default();
    let (_, event) = placed(PaymentMethod::Visa);
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&event)),
        [Outcome::Retry]
    );
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
}

#[test]
fn an_attempt_that_another_transaction_is_storing_is_not_charged_blindly() {
    let (store, ledger) = (Store::default().fails_to_open([Fault::Raced]), Ledger::default());
    let (_, event) = placed(PaymentMethod::Visa);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(ledger.look_ups.get(), 1);
    assert_eq!(ledger.len(), 1);
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Unknown),
        1 => Just(Fault::Contention),
        1 => Just(Fault::Raced),
    ]
}

proptest! {
    /// Whatever fails, and however events are repeated and grouped: once all is quiet, each order was charged once
    /// and its end told once, and every event is in the inbox.
    #[test]
    fn every_order_is_charged_once_and_its_end_told_once(
        methods in prop::collection::vec(prop::sample::select(PaymentMethod::ALL.as_slice()), 1..6),
        batches in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..6), 1..8),
        open_faults in prop::collection::vec(fault(), 0..12),
        store_faults in prop::collection::vec(fault(), 0..12),
        is_down in prop::collection::vec(any::<bool>(), 8),
    ) {
        let store = Store::default().fails_to_open(open_faults).fails_to_store(store_faults);
        let ledger = Ledger::default();
        let orders: Vec<_> = methods.into_iter().map(placed).collect();
        for (batch, is_down) in batches.iter().zip(is_down) {
            ledger.is_down.set(is_down);
            let batch: Vec<_> = batch.iter().map(|index| index.get(&orders).1.clone()).collect();
            // What fails comes again below.
            let _ = handle(&store, &ledger, &batch);
        }
        ledger.is_down.set(false);
        let events: Vec<_> = orders.iter().map(|(_, event)| event.clone()).collect();
        let is_quiet = (0..40).any(|_| {
            handle(&store, &ledger, &events)
                .is_ok_and(|handled| handled.iter().all(|handled| handled.outcome == Outcome::Duplicate))
        });
        prop_assert!(is_quiet);
        prop_assert_eq!(ledger.len(), orders.len());
        prop_assert_eq!(store.told().len(), orders.len());
        for (order, event) in &orders {
            prop_assert!(store.inbox.borrow().contains(&event.id));
            let key = ChargeKey::of(store.payment(*order).attempt());
            let succeeded = matches!(ledger.charges.borrow()[&key], Verdict::Succeeded(_));
            let expected = if succeeded { PaymentStatus::Completed } else { PaymentStatus::Failed };
            prop_assert_eq!(store.status(*order), expected);
        }
    }
}
