//! Payment's tables, and its ports on them and on the provider.

use crate::database::{Common, Transaction, Writes, read, write};
use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::provider;
use crate::world::{Micros, Process, SECOND, Service, Shop, World};
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
struct Key {
    key: IdempotencyKey,
    payment_id: Option<PaymentId>,
    answer: Option<KeptAnswer>,
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
    keys: Vec<Key>,
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

    fn known(&self, key: &IdempotencyKey) -> Option<(Known, &Key)> {
        let kept = self.keys.iter().find(|kept| kept.key == *key)?;
        let known = match &kept.answer {
            Some(answer) => Known::Answered(answer.clone()),
            None => Known::Begun(contracts::Timestamp::now()),
        };
        Some((known, kept))
    }

    /// The first answer stays.
    fn set_answer(
        &mut self,
        key: &IdempotencyKey,
        payment_id: Option<PaymentId>,
        answer: &KeptAnswer,
    ) -> Result<Keyed, StoreError> {
        let kept = self.keys.iter_mut().find(|kept| kept.key == *key);
        let kept = kept.ok_or(StoreError::Contention)?;
        match &kept.answer {
            Some(answer) => Ok(Keyed::Known(Known::Answered(answer.clone()))),
            None if kept.payment_id != payment_id => Err(StoreError::Contention),
            None => {
                kept.answer = Some(answer.clone());
                Ok(Keyed::Stored)
            }
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
        in_flight: impl Fn() -> Result<T, StoreError> + 'static,
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
    async fn keep(&self, _: &IdempotencyKey, _: &KeptAnswer) -> Result<Keyed, StoreError> {
        Err(StoreError::Mistake("the model keeps no refusals".to_owned()))
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
        let (opened, step) = write(&self.world, SERVICE, writes, || Err(StoreError::Contention), {
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
        self.write(changes, || Ok(Vec::new()), None, statement).await
    }

    async fn begin(&self, change: &Change, key: Option<&IdempotencyKey>) -> Result<Keyed, StoreError> {
        let (one, key) = (change.clone(), key.cloned());
        let key_lock = self.key_lock.filter(|_| key.is_some());
        let statement = move |world: &World, database: &mut Database, transaction: &mut Transaction| {
            if let Some((known, _)) = key.as_ref().and_then(|key| database.known(key)) {
                return Ok(Keyed::Known(known));
            }
            if !database.store(world, transaction, &one)? {
                return Err(StoreError::Contention);
            }
            let payment_id = one.order.payments().last().map(|last| last.attempt().payment_id);
            database.keys.extend(key.clone().map(|key| Key {
                key,
                payment_id,
                answer: None,
                since: world.wall(),
            }));
            Ok(Keyed::Stored)
        };
        let in_flight = || Ok(Keyed::Known(Known::InFlight));
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
                Some((key, answer)) => database.set_answer(key, payment_id, answer),
                None => Ok(Keyed::Stored),
            }
        };
        let in_flight = || Err(StoreError::Contention);
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
            database.set_answer(&key, Some(payment_id), &answer)
        })
        .await
    }

    async fn find_key(&self, key: &IdempotencyKey) -> Result<Option<UsedKey>, StoreError> {
        let key = key.clone();
        read(&self.world, SERVICE, move |world| {
            let database = world.payment.borrow();
            let Some((known, kept)) = database.known(&key) else {
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
