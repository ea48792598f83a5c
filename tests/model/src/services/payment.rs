//! Payment's tables, and its ports on them and on the provider.

use crate::database::{Common, Transaction, Writes, read, write};
use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::provider;
use crate::world::{DAY, Micros, Process, SECOND, Service, Shop, World};
use contracts::{EventId, OrderId, PaymentId, UserId};
use payment::application::{Change, LookedUp, NoAnswer, Opened, Orders, Provider, Standing, UsedKey};
use payment::domain::{
    Charge, ChargeKey, Order, OrderState, Payment, PaymentStatus, PlacedOrder, Refund, RefundKey, Verdict,
};
use service::idempotency::{IdempotencyKey, KeptAnswer, KeptAnswers, Known, Verdict as Keyed};
use service::{Page, PageQuery, StoreError};
use std::cell::RefCell;
use std::time::Duration;
use uuid::Uuid;

const SERVICE: Service = Service::Payment;

/// A row of `idempotency_keys`.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) key: IdempotencyKey,
    pub(crate) payment_id: Option<PaymentId>,
    pub(crate) answer: Option<KeptAnswer>,
    since: Micros,
}

/// An order, and since which step it is cancelled.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) order: Order,
    cancelled_at: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) common: Common,
    pub(crate) orders: Vec<Stored>,
    pub(crate) keys: Vec<Key>,
}

impl Database {
    pub(crate) fn order(&self, id: OrderId) -> Option<&Order> {
        self.stored(id).map(|stored| &stored.order)
    }

    fn stored(&self, id: OrderId) -> Option<&Stored> {
        self.orders.iter().find(|stored| stored.order.id() == id)
    }

    /// The order and the attempt that this is the charge of.
    pub(crate) fn attempt(&self, key: &ChargeKey) -> Option<(&Order, &Payment)> {
        self.orders.iter().find_map(|stored| {
            let mut payments = stored.order.payments().iter();
            let payment = payments.find(|payment| ChargeKey::of(payment.attempt()) == *key);
            payment.map(|payment| (&stored.order, payment))
        })
    }

    fn open(&mut self, world: &World, first: &Order) -> Standing {
        if let Some(order) = self.order(first.id()) {
            let order = order.clone();
            return Standing { order, is_new: false };
        }
        world.tell(Process::Component(SERVICE), |world| {
            let what = if first.is_cancelled() {
                "a tombstone of"
            } else {
                "an attempt for"
            };
            format!("stores {what} {}", world.name("order", first.id().as_uuid()))
        });
        self.orders.push(Stored {
            order: first.clone(),
            cancelled_at: first.is_cancelled().then(|| world.steps.get()),
        });
        let order = first.clone();
        Standing { order, is_new: true }
    }

    /// Whether its gate would let this change through, and no constraint refuses it.
    fn check(&self, world: &World, change: &Change) -> Result<bool, StoreError> {
        let order = self.order(change.order.id());
        let Some(order) = order.filter(|order| order.version == change.order.version) else {
            return Ok(false);
        };
        self.common.check_new(world, &change.handled)?;
        let payments = merged(order, &change.order);
        let stands = |payment: &&Payment| {
            let status = payment.state().status();
            matches!(
                status,
                PaymentStatus::Pending | PaymentStatus::Processing | PaymentStatus::Completed
            )
        };
        if payments.iter().filter(stands).count() > 1 {
            return Err(StoreError::Constraint("payments_one_standing".to_owned()));
        }
        Ok(true)
    }

    fn store(
        &mut self,
        world: &World,
        transaction: &mut Transaction,
        change: &Change,
    ) -> Result<bool, StoreError> {
        if !self.check(world, change)? {
            self.common.handle_without_effect(world, SERVICE, &change.handled);
            return Ok(false);
        }
        let id = change.order.id();
        let Some(stored) = self.orders.iter_mut().find(|stored| stored.order.id() == id) else {
            return Ok(false);
        };
        let payments = merged(&stored.order, &change.order);
        if let Some(last) = payments.last() {
            let status = last.state().status().as_str();
            let number = last.attempt().number;
            let cancelled = if change.order.is_cancelled() {
                ", cancelled"
            } else {
                ""
            };
            world.tell(Process::Component(SERVICE), |world| {
                let order = world.name("order", id.as_uuid());
                format!("has attempt {number} of {order} {status}{cancelled}")
            });
        }
        let version = stored.order.version + 1;
        stored.order = Order::restore(id, change.order.state().clone(), version, payments);
        if stored.order.is_cancelled() && stored.cancelled_at.is_none() {
            stored.cancelled_at = Some(world.steps.get());
        }
        self.common.handle(world, SERVICE, &change.handled);
        for outgoing in &change.outgoing {
            let (event, due_at) = (&outgoing.event, outgoing.due_at);
            transaction.tell(world, SERVICE, &mut self.common, event, due_at, &outgoing.trace);
        }
        Ok(true)
    }

    fn known(&self, world: &World, key: &IdempotencyKey) -> Option<(Known, &Key)> {
        let kept = self.keys.iter().find(|kept| kept.key.is_same_key(key))?;
        (!kept.is_old(world)).then(|| (kept.known(key), kept))
    }

    /// What a request is told whose key's lock is taken.
    fn in_flight(world: &World, key: &IdempotencyKey) -> Keyed {
        let database = world.payment.borrow();
        let known = database.known(world, key).map(|(known, _)| known);
        Keyed::Known(known.unwrap_or(Known::InFlight))
    }

    fn keep(&mut self, key: Key) {
        self.keys.retain(|kept| !kept.key.is_same_key(&key.key));
        self.keys.push(key);
    }

    /// The first answer stays. A key that nobody knows any more says nothing of it, unless `knows_old`.
    fn set_answer(
        &mut self,
        world: &World,
        key: &IdempotencyKey,
        payment_id: Option<PaymentId>,
        answer: &KeptAnswer,
        knows_old: bool,
    ) -> Result<Keyed, StoreError> {
        let kept = self.keys.iter_mut().find(|kept| kept.key.is_same_key(key));
        let kept = kept.ok_or(StoreError::Contention)?;
        if kept.answer.is_none() && kept.payment_id == payment_id {
            kept.answer = Some(answer.clone());
            return Ok(Keyed::Stored);
        }
        if kept.is_old(world) && !knows_old {
            return Err(StoreError::Contention);
        }
        Ok(Keyed::Known(kept.known(key)))
    }
}

impl Key {
    fn is_old(&self, world: &World) -> bool {
        self.since + DAY <= world.wall()
    }

    fn known(&self, asked: &IdempotencyKey) -> Known {
        match &self.answer {
            _ if self.key != *asked => Known::OtherBody,
            Some(answer) => Known::Answered(answer.clone()),
            None => Known::Begun(contracts::Timestamp::now()),
        }
    }
}

/// The payments of `stands` once the last one of `change` is stored.
fn merged(stands: &Order, change: &Order) -> Vec<Payment> {
    let mut payments = stands.payments().to_vec();
    if let Some(last) = change.payments().last() {
        let id = last.attempt().payment_id;
        match payments
            .iter_mut()
            .find(|payment| payment.attempt().payment_id == id)
        {
            Some(payment) => payment.clone_from(last),
            None => payments.push(last.clone()),
        }
    }
    payments
}

/// One request's view of the tables, and its way to the provider.
pub(crate) struct Port {
    world: Shop,
    key_lock: Option<Uuid>,
    /// At which step this request last read an order.
    reads: RefCell<Vec<(OrderId, u64)>>,
}

impl Port {
    pub(crate) fn new(world: Shop, key_lock: Option<Uuid>) -> Self {
        Self {
            world,
            key_lock,
            reads: RefCell::default(),
        }
    }

    fn has_read(&self, id: OrderId, step: u64) {
        self.reads.borrow_mut().push((id, step));
    }

    fn forget_the_deadline(&self, order: &mut Order) {
        if let OrderState::Placed(placed) = order.state()
            && self.world.breaks(Mutation::ForgetTheDeadline)
        {
            let placed = PlacedOrder {
                payment_due_at: None,
                ..placed.clone()
            };
            let payments = order.payments().to_vec();
            *order = Order::restore(order.id(), OrderState::Placed(placed), order.version, payments);
        }
    }

    /// R8, and the deadline: whoever starts a charge has read an order that stands, and asks in time.
    fn check_charge(&self, charge: &Charge) {
        let database = self.world.payment.borrow();
        let Some((order, _)) = database.attempt(&charge.key) else {
            return;
        };
        let id = order.id();
        // Ordering's word for it, for it is ordering's deadline.
        let ordering = self.world.ordering.borrow();
        let due_at = ordering.order(id).and_then(|order| order.payment_due_at);
        if due_at.is_some_and(|due_at| due_at < contracts::Timestamp::now()) {
            self.world.violate(Invariant::NoChargeAfterTheDeadline, |world| {
                format!("a charge for {} starts late", world.name("order", id.as_uuid()))
            });
        }
        let cancelled_at = database.stored(id).and_then(|stored| stored.cancelled_at);
        let reads = self.reads.borrow();
        let read_at = reads
            .iter()
            .rev()
            .find(|(read, _)| *read == id)
            .map(|(_, at)| *at);
        if let (Some(cancelled_at), Some(read_at)) = (cancelled_at, read_at)
            && cancelled_at < read_at
        {
            self.world
                .violate(Invariant::NoChargeAfterTheCancellation, |world| {
                    let order = world.name("order", id.as_uuid());
                    format!("a charge for {order} starts though it was read as cancelled")
                });
        }
    }

    async fn write<T: 'static>(
        &self,
        changes: &[Change],
        in_flight: impl Fn(&World) -> Result<T, StoreError> + 'static,
        key_lock: Option<Uuid>,
        statement: impl Fn(&World, &mut Database, &mut Transaction) -> Result<T, StoreError> + 'static,
    ) -> Result<T, StoreError> {
        let writes = Writes {
            locks: changes.iter().map(|change| change.order.id().as_uuid()).collect(),
            try_lock: key_lock,
            rows: changes.iter().map(|change| change.outgoing.len()).sum(),
        };
        let step = self.world.steps.get();
        let answer = write(
            &self.world,
            SERVICE,
            writes,
            in_flight,
            move |world, transaction| {
                let database = &mut *world.payment.borrow_mut();
                statement(world, database, transaction)
            },
        )
        .await;
        if answer.is_ok() {
            changes
                .iter()
                .for_each(|change| self.has_read(change.order.id(), step));
        }
        answer
    }
}

impl KeptAnswers for Port {
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Keyed, StoreError> {
        let (key, answer) = (key.clone(), answer.clone());
        let asked = key.clone();
        let in_flight = move |world: &World| Ok(Database::in_flight(world, &asked));
        let statement = move |world: &World, database: &mut Database, _: &mut Transaction| {
            if let Some((known, _)) = database.known(world, &key) {
                return Ok(Keyed::Known(known));
            }
            // The row of a key that nobody knows any more keeps its payment, which says nothing beside an answer.
            let old = database.keys.iter().find(|kept| kept.key.is_same_key(&key));
            database.keep(Key {
                key: key.clone(),
                payment_id: old.and_then(|old| old.payment_id),
                answer: Some(answer.clone()),
                since: world.wall(),
            });
            Ok(Keyed::Stored)
        };
        self.write(&[], in_flight, self.key_lock, statement).await
    }
}

impl Orders for Port {
    async fn open(
        &self,
        firsts: &[Order],
        others: &[OrderId],
        events: &[EventId],
    ) -> Result<Opened, StoreError> {
        let (told, asked, events) = (firsts.to_vec(), others.to_vec(), events.to_vec());
        let writes = Writes {
            locks: firsts.iter().map(|first| first.id().as_uuid()).collect(),
            try_lock: None,
            rows: 0,
        };
        let (opened, step) = write(&self.world, SERVICE, writes, |_| Err(StoreError::Contention), {
            move |world, _| {
                let database = &mut *world.payment.borrow_mut();
                let mut opened = Opened::default();
                for first in &told {
                    opened.orders.push(database.open(world, first));
                }
                for id in &asked {
                    let order = database.order(*id).cloned();
                    let standing = order.map(|order| Standing { order, is_new: false });
                    opened.orders.extend(standing);
                }
                opened.handled = database.common.known(world, &events);
                Ok((opened, world.steps.get()))
            }
        })
        .await?;
        let mut opened = opened;
        for standing in &mut opened.orders {
            self.has_read(standing.order.id(), step);
            self.forget_the_deadline(&mut standing.order);
        }
        Ok(opened)
    }

    async fn load(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError> {
        let (order, step) = read(&self.world, SERVICE, move |world| {
            let order = world.payment.borrow().order(id).cloned();
            Ok((order, world.steps.get()))
        })
        .await?;
        self.has_read(id, step);
        let order = order.map(|mut order| {
            self.forget_the_deadline(&mut order);
            order
        });
        Ok(order.filter(|order| {
            owner.is_none_or(|owner| order.placed().is_some_and(|placed| placed.user_id == owner))
        }))
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        let all = changes.to_vec();
        let statement = move |world: &World, database: &mut Database, transaction: &mut Transaction| {
            for change in &all {
                database.check(world, change)?;
            }
            let mut stored = Vec::new();
            for change in &all {
                if database.store(world, transaction, change)? {
                    stored.push(change.order.id());
                }
            }
            Ok(stored)
        };
        self.write(changes, |_| Ok(Vec::new()), None, statement).await
    }

    async fn begin(&self, change: &Change, key: Option<&IdempotencyKey>) -> Result<Keyed, StoreError> {
        let (one, key) = (change.clone(), key.cloned());
        let asked = key.clone();
        let key_lock = self.key_lock.filter(|_| key.is_some());
        let statement = move |world: &World, database: &mut Database, transaction: &mut Transaction| {
            if let Some((known, _)) = key.as_ref().and_then(|key| database.known(world, key)) {
                return Ok(Keyed::Known(known));
            }
            if !database.store(world, transaction, &one)? {
                return Err(StoreError::Contention);
            }
            let payment_id = one.order.payments().last().map(|last| last.attempt().payment_id);
            if let Some(key) = key.clone() {
                database.keep(Key {
                    key,
                    payment_id,
                    answer: None,
                    since: world.wall(),
                });
            }
            Ok(Keyed::Stored)
        };
        let in_flight = move |world: &World| match &asked {
            Some(key) => Ok(Database::in_flight(world, key)),
            None => Err(StoreError::Contention),
        };
        self.write(std::slice::from_ref(change), in_flight, key_lock, statement)
            .await
    }

    async fn settle(
        &self,
        change: &Change,
        keyed: Option<(&IdempotencyKey, &KeptAnswer)>,
    ) -> Result<Keyed, StoreError> {
        let one = change.clone();
        let keyed = keyed.map(|(key, answer)| (key.clone(), answer.clone()));
        let statement = move |world: &World, database: &mut Database, transaction: &mut Transaction| {
            if !database.store(world, transaction, &one)? {
                return Err(StoreError::Contention);
            }
            let payment_id = one.order.payments().last().map(|last| last.attempt().payment_id);
            match &keyed {
                Some((key, answer)) => database.set_answer(world, key, payment_id, answer, false),
                None => Ok(Keyed::Stored),
            }
        };
        let in_flight = |_: &World| Err(StoreError::Contention);
        self.write(std::slice::from_ref(change), in_flight, None, statement)
            .await
    }

    async fn answer(
        &self,
        key: &IdempotencyKey,
        payment_id: PaymentId,
        answer: &KeptAnswer,
    ) -> Result<Keyed, StoreError> {
        let (key, answer) = (key.clone(), answer.clone());
        read(&self.world, SERVICE, move |world| {
            let database = &mut *world.payment.borrow_mut();
            database.set_answer(world, &key, Some(payment_id), &answer, true)
        })
        .await
    }

    async fn find_key(&self, key: &IdempotencyKey) -> Result<Option<UsedKey>, StoreError> {
        let key = key.clone();
        read(&self.world, SERVICE, move |world| {
            let database = world.payment.borrow();
            let Some((known, kept)) = database.known(world, &key) else {
                return Ok(None);
            };
            let mut payments = database.orders.iter().flat_map(|stored| stored.order.payments());
            let payment = payments.find(|payment| Some(payment.attempt().payment_id) == kept.payment_id);
            Ok(Some(UsedKey {
                known,
                payment: payment.cloned(),
                age: Duration::from_micros(world.wall() - kept.since),
            }))
        })
        .await
    }

    async fn find(&self, _: PaymentId, _: Option<UserId>) -> Result<Option<Payment>, StoreError> {
        Ok(None)
    }

    async fn list(
        &self,
        _: OrderId,
        _: Option<UserId>,
        _: PageQuery,
    ) -> Result<Option<Page<Payment>>, StoreError> {
        Ok(None)
    }
}

impl Provider for Port {
    async fn charge(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        self.check_charge(charge);
        let charge = charge.clone();
        bounded(&self.world, provider::charge(&self.world, charge)).await
    }

    async fn look_up(&self, key: &ChargeKey) -> Result<LookedUp, NoAnswer> {
        if self.world.breaks(Mutation::ChargeInsteadOfLookingUp) {
            return Ok(LookedUp::Unknown);
        }
        let key = key.clone();
        bounded(&self.world, provider::look_up(&self.world, key)).await
    }

    async fn withdraw(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        let charge = charge.clone();
        bounded(&self.world, provider::withdraw(&self.world, charge)).await
    }

    async fn refund(&self, refund: &Refund) -> Result<(), NoAnswer> {
        let refund = refund.clone();
        bounded(&self.world, provider::refund(&self.world, refund)).await
    }

    async fn is_refunded(&self, key: &RefundKey) -> Result<bool, NoAnswer> {
        let key = key.clone();
        bounded(&self.world, provider::is_refunded(&self.world, key)).await
    }
}

/// Waits a second at most, as `infrastructure::bounded` does. What was asked for goes on.
async fn bounded<T>(
    world: &World,
    answer: crate::world::Answer<Result<T, provider::Silent>>,
) -> Result<T, NoAnswer> {
    let until = world.now() + SECOND;
    loop {
        if let Some(answer) = answer.take() {
            return answer.map_err(|_| NoAnswer);
        }
        if world.now() >= until {
            return Err(NoAnswer);
        }
        world.idle(Some(until)).await;
    }
}
