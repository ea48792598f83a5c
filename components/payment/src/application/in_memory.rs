//! Payment's ports in memory, for the tests of the use cases: a store and a provider that keep the ports' contracts,
//! and fail as told.

use super::ports::{Change, LookedUp, NoAnswer, Opened, Orders, Outgoing, Provider, Standing, UsedKey};
use crate::domain::{
    Charge, ChargeKey, Order, OrderState, Payment, PaymentStatus, PlacedOrder, Refund, RefundKey, Verdict,
};
use contracts::{Event, EventId, Money, OrderId, PaymentId, PaymentMethod, Timestamp, UserId};
use service::idempotency::{IdempotencyKey, KeptAnswer, KeptAnswers, Known, Verdict as Keyed};
use service::{Page, PageQuery, StoreError};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// Lets others go first, once: every call of a port does, before it has its effect and after.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Has `effect` between two of the caller's turns.
async fn turn<T>(effect: impl FnOnce() -> T) -> T {
    yield_now().await;
    let answer = effect();
    yield_now().await;
    answer
}

/// What befalls one call of the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    None,
    /// It fails before anything is stored.
    Lost,
    /// It fails after all is stored.
    Unknown,
    Contention,
    /// Somebody else is faster, and stores the same order or raises its version.
    Raced,
    /// Somebody else is faster, and cancels the order.
    Cancelled,
}

/// What is kept under an idempotency key.
#[derive(Clone, Debug)]
pub(super) struct KeptKey {
    key: IdempotencyKey,
    payment_id: Option<PaymentId>,
    answer: Option<KeptAnswer>,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) orders: RefCell<HashMap<OrderId, Order>>,
    pub(super) inbox: RefCell<HashSet<EventId>>,
    pub(super) outbox: RefCell<Vec<Event>>,
    pub(super) timers: RefCell<Vec<Outgoing>>,
    pub(super) keys: RefCell<Vec<KeptKey>>,
    /// How long ago every key was used.
    pub(super) age: Cell<Duration>,
    open_faults: RefCell<VecDeque<Fault>>,
    store_faults: RefCell<VecDeque<Fault>>,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("a test".to_owned())
}

impl Store {
    pub(super) fn fails_to_open(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.open_faults.borrow_mut().extend(faults);
        self
    }

    pub(super) fn fails_to_store(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.store_faults.borrow_mut().extend(faults);
        self
    }

    /// Somebody else's statement on the same order.
    fn meddle(&self, id: OrderId, first: Option<&Order>, is_cancelled: bool) {
        let mut orders = self.orders.borrow_mut();
        if let Some(order) = orders.get_mut(&id) {
            order.version += 1;
            if is_cancelled {
                order.cancel(Timestamp::now());
            }
        } else if let Some(first) = first {
            let theirs = match first.state() {
                OrderState::Placed(placed) => {
                    Order::open(id, placed.clone(), PaymentId::new(), Timestamp::now())
                }
                OrderState::Cancelled(placed) => Order::cancelled(id, placed.clone()),
            };
            orders.insert(id, theirs);
        }
    }

    fn insert(&self, order: &Order) -> Standing {
        let mut orders = self.orders.borrow_mut();
        let is_new = !orders.contains_key(&order.id());
        let order = orders.entry(order.id()).or_insert_with(|| order.clone()).clone();
        Standing { order, is_new }
    }

    /// The order's last payment is stored, by its id, as the statement does.
    fn apply(&self, change: &Change) -> Result<bool, StoreError> {
        let mut orders = self.orders.borrow_mut();
        let mut inbox = self.inbox.borrow_mut();
        let order = orders.get_mut(&change.order.id()).unwrap();
        if order.version != change.order.version {
            return Ok(false);
        }
        if change.handled.iter().any(|id| inbox.contains(id)) {
            return Err(StoreError::Constraint("inbox_pkey".to_owned()));
        }
        assert!(
            !order.is_cancelled() || change.order.is_cancelled(),
            "a cancellation is final"
        );
        let mut payments = order.payments().to_vec();
        if let Some(last) = change.order.payments().last() {
            let id = last.attempt().payment_id;
            payments.retain(|payment| payment.attempt().payment_id != id);
            payments.push(last.clone());
        }
        *order = Order::restore(
            order.id(),
            change.order.state().clone(),
            order.version + 1,
            payments,
        );
        inbox.extend(change.handled.iter().copied());
        for outgoing in &change.outgoing {
            match outgoing.due_at {
                Some(_) => self.timers.borrow_mut().push(outgoing.clone()),
                None => self.outbox.borrow_mut().push(outgoing.event.clone()),
            }
        }
        Ok(true)
    }

    fn known(&self, key: &IdempotencyKey) -> Option<(Known, Option<PaymentId>)> {
        let keys = self.keys.borrow();
        let kept = keys.iter().find(|kept| kept.key == *key)?;
        let known = match kept.answer.clone() {
            Some(answer) => Known::Answered(answer),
            None => Known::Begun(Timestamp::now()),
        };
        Some((known, kept.payment_id))
    }

    /// The first answer stays.
    fn set_answer(
        &self,
        key: &IdempotencyKey,
        payment_id: PaymentId,
        answer: &KeptAnswer,
    ) -> Result<Keyed, StoreError> {
        let mut keys = self.keys.borrow_mut();
        let kept = keys.iter_mut().find(|kept| kept.key == *key);
        let kept = kept.ok_or(StoreError::Contention)?;
        assert_eq!(kept.payment_id, Some(payment_id));
        match &kept.answer {
            Some(answer) => Ok(Keyed::Known(Known::Answered(answer.clone()))),
            None => {
                kept.answer = Some(answer.clone());
                Ok(Keyed::Stored)
            }
        }
    }

    /// What would happen before and after a statement that stores `changes` by `store`.
    fn faulty<T>(
        &self,
        changes: &[Change],
        store: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let fault = next(&self.store_faults);
        match fault {
            Fault::Lost => return Err(unavailable()),
            Fault::Contention => return Err(StoreError::Contention),
            Fault::Raced | Fault::Cancelled => changes
                .iter()
                .for_each(|change| self.meddle(change.order.id(), None, fault == Fault::Cancelled)),
            Fault::None | Fault::Unknown => {}
        }
        let stored = store()?;
        if fault == Fault::Unknown {
            Err(unavailable())
        } else {
            Ok(stored)
        }
    }

    /// An order with one attempt, which ended as `verdict` says.
    pub(super) fn with_order(&self, method: PaymentMethod, verdict: Option<Verdict>) -> (OrderId, UserId) {
        let (id, now) = (OrderId::new(), Timestamp::now());
        let placed = PlacedOrder {
            user_id: UserId::new(),
            amount: Money::rub(15_000).unwrap(),
            method,
            payment_due_at: None,
        };
        let user_id = placed.user_id;
        let mut order = Order::open(id, placed, PaymentId::new(), now);
        if let Some(verdict) = verdict {
            order.settle(verdict, now);
        }
        self.orders.borrow_mut().insert(id, order);
        (id, user_id)
    }

    /// The order's deadline passes.
    pub(super) fn pass_deadline(&self, id: OrderId) {
        let mut orders = self.orders.borrow_mut();
        let order = orders.get_mut(&id).unwrap();
        let past: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
        let placed = PlacedOrder {
            payment_due_at: Some(past),
            ..order.placed().unwrap().clone()
        };
        let state = OrderState::Placed(placed);
        *order = Order::restore(id, state, order.version, order.payments().to_vec());
    }

    /// The payment of the order's last attempt.
    pub(super) fn payment(&self, id: OrderId) -> Payment {
        self.orders.borrow()[&id].payments().last().unwrap().clone()
    }

    pub(super) fn status(&self, id: OrderId) -> PaymentStatus {
        self.payment(id).state().status()
    }

    pub(super) fn told(&self) -> Vec<&'static str> {
        self.outbox.borrow().iter().map(Event::event_type).collect()
    }
}

fn next(faults: &RefCell<VecDeque<Fault>>) -> Fault {
    faults.borrow_mut().pop_front().unwrap_or(Fault::None)
}

impl KeptAnswers for Store {
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Keyed, StoreError> {
        turn(|| {
            if let Some((known, _)) = self.known(key) {
                return Ok(Keyed::Known(known));
            }
            self.keys.borrow_mut().push(KeptKey {
                key: key.clone(),
                payment_id: None,
                answer: Some(answer.clone()),
            });
            Ok(Keyed::Stored)
        })
        .await
    }
}

impl Orders for Store {
    async fn open(
        &self,
        orders: &[Order],
        others: &[OrderId],
        events: &[EventId],
    ) -> Result<Opened, StoreError> {
        turn(|| {
            let fault = next(&self.open_faults);
            match fault {
                Fault::Lost => return Err(unavailable()),
                Fault::Contention => return Err(StoreError::Contention),
                Fault::None | Fault::Unknown | Fault::Raced | Fault::Cancelled => {}
            }
            let mut opened = Opened::default();
            for order in orders {
                let known = self.orders.borrow().contains_key(&order.id());
                if fault == Fault::Raced && !known {
                    self.meddle(order.id(), Some(order), false);
                } else {
                    opened.orders.push(self.insert(order));
                }
            }
            for id in others {
                let order = self.orders.borrow().get(id).cloned();
                let standing = order.map(|order| Standing { order, is_new: false });
                opened.orders.extend(standing);
            }
            let inbox = self.inbox.borrow();
            opened.handled = events.iter().filter(|id| inbox.contains(id)).copied().collect();
            if fault == Fault::Unknown {
                Err(unavailable())
            } else {
                Ok(opened)
            }
        })
        .await
    }

    async fn load(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError> {
        turn(|| {
            let order = self.orders.borrow().get(&id).cloned();
            Ok(order.filter(|order| {
                owner.is_none_or(|owner| order.placed().is_some_and(|placed| placed.user_id == owner))
            }))
        })
        .await
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        turn(|| {
            self.faulty(changes, || {
                let mut stored = Vec::new();
                for change in changes {
                    if self.apply(change)? {
                        stored.push(change.order.id());
                    }
                }
                Ok(stored)
            })
        })
        .await
    }

    async fn begin(&self, change: &Change, key: Option<&IdempotencyKey>) -> Result<Keyed, StoreError> {
        turn(|| {
            self.faulty(std::slice::from_ref(change), || {
                if let Some((known, _)) = key.and_then(|key| self.known(key)) {
                    return Ok(Keyed::Known(known));
                }
                if !self.apply(change)? {
                    return Err(StoreError::Contention);
                }
                let payment_id = change.order.payments().last().unwrap().attempt().payment_id;
                self.keys.borrow_mut().extend(key.map(|key| KeptKey {
                    key: key.clone(),
                    payment_id: Some(payment_id),
                    answer: None,
                }));
                Ok(Keyed::Stored)
            })
        })
        .await
    }

    async fn settle(
        &self,
        change: &Change,
        keyed: Option<(&IdempotencyKey, &KeptAnswer)>,
    ) -> Result<Keyed, StoreError> {
        turn(|| {
            self.faulty(std::slice::from_ref(change), || {
                if !self.apply(change)? {
                    return Err(StoreError::Contention);
                }
                let payment_id = change.order.payments().last().unwrap().attempt().payment_id;
                match keyed {
                    Some((key, answer)) => self.set_answer(key, payment_id, answer),
                    None => Ok(Keyed::Stored),
                }
            })
        })
        .await
    }

    async fn answer(
        &self,
        key: &IdempotencyKey,
        payment_id: PaymentId,
        answer: &KeptAnswer,
    ) -> Result<Keyed, StoreError> {
        turn(|| self.set_answer(key, payment_id, answer)).await
    }

    async fn find_key(&self, key: &IdempotencyKey) -> Result<Option<UsedKey>, StoreError> {
        turn(|| {
            Ok(self.known(key).map(|(known, payment_id)| {
                let orders = self.orders.borrow();
                let mut payments = orders.values().flat_map(Order::payments);
                let payment = payments.find(|payment| Some(payment.attempt().payment_id) == payment_id);
                UsedKey {
                    known,
                    payment: payment.cloned(),
                    age: self.age.get(),
                }
            }))
        })
        .await
    }

    async fn find(&self, _: PaymentId, _: Option<UserId>) -> Result<Option<Payment>, StoreError> {
        turn(|| Err(unavailable())).await
    }

    async fn list(
        &self,
        _: OrderId,
        _: Option<UserId>,
        _: PageQuery,
    ) -> Result<Option<Page<Payment>>, StoreError> {
        turn(|| Err(unavailable())).await
    }
}

/// A provider with the cards of the simulated one. The slow card settles when it is looked up the second time.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) charges: RefCell<HashMap<ChargeKey, Verdict>>,
    pub(super) refunds: RefCell<HashMap<RefundKey, Refund>>,
    looks: RefCell<HashMap<ChargeKey, u32>>,
    pub(super) charge_calls: Cell<u32>,
    pub(super) refund_calls: Cell<u32>,
    pub(super) look_ups: Cell<u32>,
    pub(super) is_down: Cell<bool>,
    /// Refunds happen, but nobody hears of it.
    pub(super) loses_refunds: Cell<bool>,
}

impl Provider for Ledger {
    async fn charge(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        turn(|| {
            self.charge_calls.set(self.charge_calls.get() + 1);
            self.answers()?;
            let mut charges = self.charges.borrow_mut();
            let known = charges.get(&charge.key).cloned();
            let verdict = known.clone().unwrap_or_else(|| match charge.method {
                PaymentMethod::ChargeDeclined => Verdict::Declined,
                _ => Verdict::Succeeded(format!("txn of {}", charge.key.as_str()).into()),
            });
            charges.insert(charge.key.clone(), verdict.clone());
            match charge.method {
                PaymentMethod::Slow => Err(NoAnswer),
                PaymentMethod::Flaky if known.is_none() => Err(NoAnswer),
                _ => Ok(verdict),
            }
        })
        .await
    }

    async fn look_up(&self, key: &ChargeKey) -> Result<LookedUp, NoAnswer> {
        turn(|| {
            self.look_ups.set(self.look_ups.get() + 1);
            self.answers()?;
            let charges = self.charges.borrow();
            let Some(verdict) = charges.get(key) else {
                return Ok(LookedUp::Unknown);
            };
            let mut looks = self.looks.borrow_mut();
            let look = looks.entry(key.clone()).or_default();
            *look += 1;
            Ok(if *look == 1 {
                LookedUp::Pending
            } else {
                LookedUp::Settled(verdict.clone())
            })
        })
        .await
    }

    async fn withdraw(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        turn(|| {
            self.answers()?;
            let mut charges = self.charges.borrow_mut();
            let charge = charges.entry(charge.key.clone());
            Ok(charge.or_insert(Verdict::Withdrawn).clone())
        })
        .await
    }

    async fn refund(&self, refund: &Refund) -> Result<(), NoAnswer> {
        turn(|| {
            self.refund_calls.set(self.refund_calls.get() + 1);
            self.answers()?;
            let charges = self.charges.borrow();
            assert!(matches!(charges.get(&refund.charge), Some(Verdict::Succeeded(_))));
            self.refunds
                .borrow_mut()
                .insert(refund.key.clone(), refund.clone());
            if self.loses_refunds.get() {
                return Err(NoAnswer);
            }
            Ok(())
        })
        .await
    }

    async fn is_refunded(&self, key: &RefundKey) -> Result<bool, NoAnswer> {
        turn(|| {
            self.answers()?;
            Ok(self.refunds.borrow().contains_key(key))
        })
        .await
    }
}

impl Ledger {
    fn answers(&self) -> Result<(), NoAnswer> {
        if self.is_down.get() { Err(NoAnswer) } else { Ok(()) }
    }

    /// What it took or declined, however often it was asked.
    pub(super) fn len(&self) -> usize {
        self.charges.borrow().len()
    }

    /// As it is, but every charge has settled when it is looked up.
    pub(super) fn with_charges_settled(self, orders: &Store) -> Self {
        for order in orders.orders.borrow().values() {
            for payment in order.payments() {
                let key = ChargeKey::of(payment.attempt());
                self.looks.borrow_mut().insert(key, 1);
            }
        }
        self
    }
}
