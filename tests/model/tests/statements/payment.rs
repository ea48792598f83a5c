//! Payment: orders that are heard of, charged, cancelled and refunded, and requests to pay, with and without a key.

use crate::ordering::{answer, batch, key, name_of, pick, uuid, verdict_of};
use crate::scene::{Answer, Side, Tape};
use contracts::{
    ChargeLookUpDue, Event, EventId, Money, OrderCancelled, OrderCreated, OrderId, PaymentId, PaymentMethod,
    Received, Timestamp, UserId,
};
use fastrand::Rng;
use payment::application::{
    Change, LookedUp, NoAnswer, Opened, Orders, Outgoing, ProcessPayment, Provider, UsedKey, handle_events,
    process_payment,
};
use payment::domain::{
    Charge, ChargeKey, Order, Payment, PlacedOrder, Refund, RefundKey, Verdict as Settled,
};
use payment::infrastructure::PostgresOrders;
use serde_json::Value;
use service::idempotency::{Done, IdempotencyKey, KeptAnswer, KeptAnswers, Verdict, once};
use service::trace::Traceparent;
use service::{Database, Page, PageQuery, Problem, StoreError};
use shop_model::Stage;
use std::cell::RefCell;
use std::time::Duration;
use uuid::Uuid;

pub(crate) struct Paying;

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Open {
        firsts: Vec<Order>,
        others: Vec<OrderId>,
        events: Vec<EventId>,
    },
    Store(Vec<Change>),
    Begin(Change, Option<IdempotencyKey>),
    Settle(Change, Option<(IdempotencyKey, KeptAnswer)>),
    Answer(IdempotencyKey, PaymentId, KeptAnswer),
    Keep(IdempotencyKey, KeptAnswer),
}

async fn make(port: &impl Orders, call: &Call) -> Answer {
    match call {
        Call::Open {
            firsts,
            others,
            events,
        } => {
            let opened = port.open(firsts, others, events).await;
            Answer::of(opened, |opened: Opened| {
                let stand = |standing: &payment::application::Standing| {
                    let new = if standing.is_new { "new" } else { "known" };
                    (
                        standing.order.id().as_uuid(),
                        format!("{new} {:?}", standing.order),
                    )
                };
                let handled = opened.handled.iter().map(|id| id.as_uuid());
                Answer::Opened(opened.orders.iter().map(stand).collect(), handled.collect())
            })
        }
        Call::Store(changes) => Answer::of(port.store(changes).await, Answer::sorted),
        Call::Begin(change, key) => verdict_of(port.begin(change, key.as_ref()).await),
        Call::Settle(change, keyed) => {
            let keyed = keyed.as_ref().map(|(key, answer)| (key, answer));
            verdict_of(port.settle(change, keyed).await)
        }
        Call::Answer(key, payment_id, answer) => verdict_of(port.answer(key, *payment_id, answer).await),
        Call::Keep(key, answer) => verdict_of(port.keep(key, answer).await),
    }
}

/// The key whose lock a call takes, or whose answer it sets.
fn key_of(call: &Call) -> Option<&IdempotencyKey> {
    match call {
        Call::Begin(_, key) => key.as_ref(),
        Call::Settle(_, keyed) => keyed.as_ref().map(|(key, _)| key),
        Call::Answer(key, ..) | Call::Keep(key, _) => Some(key),
        Call::Open { .. } | Call::Store(_) => None,
    }
}

pub(crate) struct Things {
    orders: Vec<OrderId>,
    told: Vec<Received>,
}

#[derive(Clone)]
pub(crate) enum Intent {
    Batch(Vec<Received>),
    Pay(OrderId, Option<IdempotencyKey>),
    /// A request under a key that is refused.
    Refused(IdempotencyKey),
}

const SCOPE: &str = "POST /payments/process";

/// Payments that there are on the stage, and their orders.
fn payments_of(stage: &Stage) -> Vec<(PaymentId, OrderId)> {
    let tables = stage.tables_of_payment();
    let payments = tables["payments"].as_object().unwrap();
    let pair = |(id, row): (&String, &Value)| {
        (
            id.parse().unwrap(),
            row["order"].as_str().unwrap().parse().unwrap(),
        )
    };
    payments.iter().map(pair).collect()
}

impl Side for Paying {
    type Call = Call;
    type Things = Things;
    type Intent = Intent;

    const SCHEMA: &'static str = "payment";
    const TABLES: &'static str = include_str!("sql/payment.sql");
    const EMPTIED: &'static [&'static str] = &[
        "idempotency_keys",
        "payments",
        "orders",
        "inbox",
        "outbox_messages",
    ];

    fn things(random: &mut Rng) -> Things {
        Things {
            orders: (0..3).map(|_| OrderId::from(uuid(random))).collect(),
            told: Vec::new(),
        }
    }

    /// Two of the orders can be paid again.
    fn setup(things: &Things, random: &mut Rng) -> Vec<Call> {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let placed = PlacedOrder {
            user_id: UserId::from(Uuid::from_u128(1)),
            amount: Money::rub(500).unwrap(),
            method: PaymentMethod::Visa,
            payment_due_at: None,
        };
        let first = |id: &OrderId, random: &mut Rng| {
            Order::open(*id, placed.clone(), PaymentId::from(uuid(random)), now)
        };
        let firsts: Vec<Order> = things.orders[1..].iter().map(|id| first(id, random)).collect();
        let declined = firsts.iter().cloned().map(|mut order| {
            let told = order.settle(Settled::Declined, now);
            Change::new(order, now, Outgoing::all(told, &Traceparent::random()))
        });
        let declined = Call::Store(declined.collect());
        let opened = Call::Open {
            firsts,
            others: Vec::new(),
            events: Vec::new(),
        };
        vec![opened, declined]
    }

    fn intent(things: &mut Things, stage: &Stage, random: &mut Rng) -> Intent {
        let keyed = |random: &mut Rng| (random.u8(0..4) > 0).then(|| key(random, SCOPE));
        match random.u8(0..100) {
            0..60 => Intent::Pay(*pick(random, &things.orders).unwrap(), keyed(random)),
            60..66 => Intent::Refused(key(random, SCOPE)),
            _ => {
                let (orders, payments) = (things.orders.clone(), payments_of(stage));
                let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
                let new = |random: &mut Rng| -> Option<Event> {
                    let order_id = *pick(random, &orders)?;
                    Some(match random.u8(0..10) {
                        0..6 => OrderCreated {
                            order_id,
                            user_id: UserId::from(Uuid::from_u128(1)),
                            total: Money::rub(500).unwrap(),
                            payment_method: PaymentMethod::Visa,
                            // Some of them are late already.
                            payment_due_at: (random.u8(0..4) > 0)
                                .then(|| now.plus(Duration::from_secs(random.u64(0..900)))),
                            items: Vec::new(),
                        }
                        .into(),
                        6 if !payments.is_empty() => {
                            let (payment_id, order_id) = *pick(random, &payments)?;
                            ChargeLookUpDue { order_id, payment_id }.into()
                        }
                        _ => OrderCancelled {
                            order_id,
                            reason: "cancelled_by_user".to_owned(),
                        }
                        .into(),
                    })
                };
                Intent::Batch(batch(random, &mut things.told, new))
            }
        }
    }

    fn pursue(stage: &Stage, intent: Intent, tape: Tape<Call>, random: &mut Rng) {
        let recorder = Recorder {
            port: stage.payment(None),
            tape,
        };
        let provider = Whim(RefCell::new(random.fork()));
        stage.run(async move {
            match intent {
                Intent::Batch(batch) => drop(handle_events(&recorder, &provider, batch).await),
                Intent::Pay(order_id, key) => {
                    let command = ProcessPayment {
                        order_id,
                        method: None,
                        owner: None,
                        key,
                        trace: Traceparent::random(),
                    };
                    let kept = |payment: &Payment| {
                        answer(&(payment.attempt().number, payment.state().status().as_str()))
                    };
                    drop(process_payment(&recorder, &provider, command, kept).await);
                }
                Intent::Refused(key) => {
                    let refused = async { Err::<Done, _>(Problem::not_found("order")) };
                    drop(once(&recorder, Some(&key), "/payments/process", refused).await);
                }
            }
        });
    }

    fn raised(call: &Call) -> Option<Call> {
        match call {
            Call::Store(changes) => {
                let mut changes = changes.clone();
                changes.iter_mut().for_each(|change| change.order.version += 1);
                Some(Call::Store(changes))
            }
            Call::Begin(change, key) => {
                let mut change = change.clone();
                change.order.version += 1;
                Some(Call::Begin(change, key.clone()))
            }
            Call::Settle(change, keyed) => {
                let mut change = change.clone();
                change.order.version += 1;
                Some(Call::Settle(change, keyed.clone()))
            }
            _ => None,
        }
    }

    fn key(call: &Call) -> Option<String> {
        key_of(call).map(name_of)
    }

    async fn on_postgres(database: &Database, call: &Call) -> Answer {
        make(&PostgresOrders::new(database), call).await
    }

    fn on_model(stage: &Stage, call: Call) -> impl Future<Output = Answer> + 'static {
        let port = stage.payment(key_of(&call));
        async move { make(&port, &call).await }
    }

    fn tables(stage: &Stage) -> Value {
        stage.tables_of_payment()
    }
}

/// A provider that says whatever it likes.
struct Whim(RefCell<Rng>);

impl Whim {
    fn verdict(&self) -> Result<Settled, NoAnswer> {
        let mut random = self.0.borrow_mut();
        match random.u8(0..10) {
            0..4 => Ok(Settled::Succeeded(uuid(&mut random).to_string().into())),
            4 => Ok(Settled::Declined),
            5 => Ok(Settled::Withdrawn),
            _ => Err(NoAnswer),
        }
    }
}

impl Provider for Whim {
    async fn charge(&self, _: &Charge) -> Result<Settled, NoAnswer> {
        self.verdict()
    }

    async fn look_up(&self, _: &ChargeKey) -> Result<LookedUp, NoAnswer> {
        if self.0.borrow_mut().bool() {
            return Ok(LookedUp::Unknown);
        }
        self.verdict().map(LookedUp::Settled)
    }

    async fn withdraw(&self, _: &Charge) -> Result<Settled, NoAnswer> {
        self.verdict()
    }

    async fn refund(&self, _: &Refund) -> Result<(), NoAnswer> {
        self.verdict().map(drop)
    }

    async fn is_refunded(&self, _: &RefundKey) -> Result<bool, NoAnswer> {
        Ok(self.0.borrow_mut().bool())
    }
}

/// Reads from the model, and has the tape keep what is to be written.
struct Recorder<P> {
    port: P,
    tape: Tape<Call>,
}

impl<P: Orders> KeptAnswers for Recorder<P> {
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Verdict, StoreError> {
        self.tape.keep(Call::Keep(key.clone(), answer.clone()))?;
        self.port.keep(key, answer).await
    }
}

impl<P: Orders> Orders for Recorder<P> {
    async fn open(
        &self,
        firsts: &[Order],
        others: &[OrderId],
        events: &[EventId],
    ) -> Result<Opened, StoreError> {
        self.tape.keep(Call::Open {
            firsts: firsts.to_vec(),
            others: others.to_vec(),
            events: events.to_vec(),
        })?;
        self.port.open(firsts, others, events).await
    }

    async fn load(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError> {
        self.port.load(id, owner).await
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        self.tape.keep(Call::Store(changes.to_vec()))?;
        self.port.store(changes).await
    }

    async fn begin(&self, change: &Change, key: Option<&IdempotencyKey>) -> Result<Verdict, StoreError> {
        self.tape.keep(Call::Begin(change.clone(), key.cloned()))?;
        self.port.begin(change, key).await
    }

    async fn settle(
        &self,
        change: &Change,
        keyed: Option<(&IdempotencyKey, &KeptAnswer)>,
    ) -> Result<Verdict, StoreError> {
        let owned = keyed.map(|(key, answer)| (key.clone(), answer.clone()));
        self.tape.keep(Call::Settle(change.clone(), owned))?;
        self.port.settle(change, keyed).await
    }

    async fn answer(
        &self,
        key: &IdempotencyKey,
        payment_id: PaymentId,
        answer: &KeptAnswer,
    ) -> Result<Verdict, StoreError> {
        self.tape
            .keep(Call::Answer(key.clone(), payment_id, answer.clone()))?;
        self.port.answer(key, payment_id, answer).await
    }

    async fn find_key(&self, key: &IdempotencyKey) -> Result<Option<UsedKey>, StoreError> {
        self.port.find_key(key).await
    }

    async fn find(&self, id: PaymentId, owner: Option<UserId>) -> Result<Option<Payment>, StoreError> {
        self.port.find(id, owner).await
    }

    async fn list(
        &self,
        order_id: OrderId,
        owner: Option<UserId>,
        page: PageQuery,
    ) -> Result<Option<Page<Payment>>, StoreError> {
        self.port.list(order_id, owner, page).await
    }
}
