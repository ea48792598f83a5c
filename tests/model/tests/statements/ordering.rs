//! Ordering: orders placed and cancelled, with and without a key, what they hear, and what the catalog tells.

use crate::scene::{Answer, Side, Tape};
use contracts::{
    BouquetChanged, BouquetId, DeadLetterResolved, Event, EventDeadLettered, EventId, FlowerChanged,
    FlowerId, Money, OrderId, PaymentCompleted, PaymentDeadlinePassed, PaymentFailed, PaymentId,
    PaymentMethod, PaymentRefunded, Received, ShipmentCreated, ShipmentDelivered, ShipmentFailed, ShipmentId,
    StockRejected, StockReserved, UserId,
};
use fastrand::Rng;
use ordering::application::{
    CancelOrder, CatalogChange, Change, HistoryItem, Keyed, Loaded, OrderFilter, Orders, Outgoing,
    PlaceOrder, StoredHistory, cancel_order, handle_events, place_order,
};
use ordering::domain::{Address, Cart, CartLine, CatalogItem, Customer, Order, Product, Quantity};
use ordering::infrastructure::PostgresOrders;
use serde_json::Value;
use service::idempotency::{Done, IdempotencyKey, KeptAnswer, KeptAnswers, Verdict, once};
use service::trace::Traceparent;
use service::{Database, Page, PageQuery, Problem, StoreError};
use shop_model::Stage;
use std::time::Duration;
use uuid::Uuid;

pub(crate) struct Ordering;

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Insert {
        order: Order,
        history: HistoryItem,
        outgoing: Vec<Outgoing>,
        keyed: Option<(IdempotencyKey, KeptAnswer)>,
    },
    Store(Vec<Change>),
    StoreRequested(Change, Option<(IdempotencyKey, KeptAnswer)>),
    StoreCatalog(Vec<CatalogChange>),
    Keep(IdempotencyKey, KeptAnswer),
}

async fn make(port: &impl Orders, call: &Call) -> Answer {
    fn borrowed(keyed: &Option<(IdempotencyKey, KeptAnswer)>) -> Option<Keyed<'_>> {
        keyed.as_ref().map(|(key, answer)| (key, answer))
    }
    match call {
        Call::Insert {
            order,
            history,
            outgoing,
            keyed,
        } => {
            let verdict = port.insert(order, history, outgoing, borrowed(keyed)).await;
            verdict_of(verdict)
        }
        Call::Store(changes) => Answer::of(port.store(changes).await, Answer::sorted),
        Call::StoreRequested(change, keyed) => {
            verdict_of(port.store_requested(change, borrowed(keyed)).await)
        }
        Call::StoreCatalog(changes) => {
            Answer::of(port.store_catalog(changes).await, |done| Answer::given(&done))
        }
        Call::Keep(key, answer) => verdict_of(port.keep(key, answer).await),
    }
}

/// What became of a keyed request. When its work began is nothing that can be compared.
pub(crate) fn verdict_of(verdict: Result<Verdict, StoreError>) -> Answer {
    use service::idempotency::Known;
    Answer::of(verdict, |verdict| match verdict {
        Verdict::Known(Known::InFlight) => Answer::InFlight,
        Verdict::Known(Known::Begun(_)) => Answer::Begun,
        verdict => Answer::given(&verdict),
    })
}

fn key_of(call: &Call) -> Option<&IdempotencyKey> {
    match call {
        Call::Insert { keyed, .. } | Call::StoreRequested(_, keyed) => keyed.as_ref().map(|(key, _)| key),
        Call::Keep(key, _) => Some(key),
        Call::Store(_) | Call::StoreCatalog(_) => None,
    }
}

/// The name of a key, without what was sent under it.
pub(crate) fn name_of(key: &IdempotencyKey) -> String {
    let written = serde_json::to_value(key).unwrap();
    format!("{} {} {}", written["user_id"], written["scope"], written["key"])
}

pub(crate) struct Things {
    flowers: Vec<FlowerId>,
    bouquet: BouquetId,
    /// Events that may come again.
    told: Vec<Received>,
    places: Vec<Place>,
}

#[derive(Clone)]
struct Place {
    lines: Vec<(usize, i64)>,
    key: Option<IdempotencyKey>,
}

#[derive(Clone)]
pub(crate) enum Intent {
    Batch(Vec<Received>),
    Place {
        cart: Cart,
        key: Option<IdempotencyKey>,
    },
    Cancel {
        order_id: OrderId,
        key: Option<IdempotencyKey>,
    },
    /// A request under a key that is refused.
    Refused(IdempotencyKey),
}

pub(crate) fn uuid(random: &mut Rng) -> Uuid {
    Uuid::from_u128(random.u128(..))
}

pub(crate) fn pick<'a, T>(random: &mut Rng, all: &'a [T]) -> Option<&'a T> {
    (!all.is_empty()).then(|| &all[random.usize(..all.len())])
}

/// One of two keys, for one of two bodies. Mostly the first.
pub(crate) fn key(random: &mut Rng, scope: &str) -> IdempotencyKey {
    let user = UserId::from(Uuid::from_u128(1));
    let name = if random.u8(0..4) == 0 { "b" } else { "a" };
    let body: &[u8] = if random.u8(0..6) == 0 { b"other" } else { b"one" };
    IdempotencyKey::new(user, scope.to_owned(), name.to_owned(), body)
}

pub(crate) fn received(random: &mut Rng, event: impl Into<Event>) -> Received {
    Received {
        id: EventId::from(uuid(random)),
        traceparent: Some(Traceparent::random().to_string()),
        occurred_at: None,
        event: event.into(),
    }
}

/// One to three events: new ones, and some that came before.
pub(crate) fn batch(
    random: &mut Rng,
    told: &mut Vec<Received>,
    mut new: impl FnMut(&mut Rng) -> Option<Event>,
) -> Vec<Received> {
    let mut batch: Vec<Received> = Vec::new();
    for _ in 0..random.usize(1..5) {
        let event = match pick(random, told).cloned() {
            Some(event) if random.u8(0..4) == 0 => event,
            _ => {
                let Some(event) = new(random) else { continue };
                let event = received(random, event);
                told.push(event.clone());
                event
            }
        };
        if batch.iter().all(|other| other.id != event.id) {
            batch.push(event);
        }
    }
    batch
}

/// An answer that shows what it is about.
pub(crate) fn answer(about: &impl serde::Serialize) -> KeptAnswer {
    KeptAnswer::of(&service::Response::json(http::StatusCode::OK, about))
}

fn of_an_order(random: &mut Rng, order_id: OrderId) -> Event {
    let payment_id = PaymentId::from(uuid(random));
    let shipment_id = ShipmentId::from(uuid(random));
    let attempt = random.u32(1..3);
    match random.u8(0..14) {
        0 | 1 => PaymentCompleted {
            order_id,
            payment_id,
            attempt,
            amount: Money::ZERO,
            transaction_id: "t".to_owned(),
        }
        .into(),
        2 => PaymentFailed {
            order_id,
            payment_id,
            attempt,
            reason: "card_declined".to_owned(),
        }
        .into(),
        3 => PaymentRefunded {
            order_id,
            payment_id,
            attempt,
            amount: Money::ZERO,
        }
        .into(),
        4 | 5 => StockReserved { order_id }.into(),
        6 => StockRejected {
            order_id,
            reason: "out_of_stock".to_owned(),
        }
        .into(),
        7 | 8 => ShipmentCreated {
            order_id,
            shipment_id,
            tracking_number: "n".to_owned(),
        }
        .into(),
        9 => ShipmentDelivered {
            order_id,
            shipment_id,
        }
        .into(),
        10 => ShipmentFailed {
            order_id,
            shipment_id,
            reason: "nobody at home".to_owned(),
        }
        .into(),
        11 => PaymentDeadlinePassed { order_id }.into(),
        12 => EventDeadLettered {
            order_id,
            event_type: None,
            queue: "q".to_owned(),
        }
        .into(),
        _ => DeadLetterResolved {
            order_id,
            event_type: Some("OrderPaid".to_owned()),
            queue: "q".to_owned(),
            resolution: "retried".to_owned(),
        }
        .into(),
    }
}

fn of_the_catalog(random: &mut Rng, things: (&[FlowerId], BouquetId)) -> Event {
    let (flowers, bouquet_id) = things;
    let version = random.i64(1..6);
    let name = format!("version {version}");
    let price = Money::rub(random.i64(1..500)).unwrap();
    let deleted = random.u8(0..8) == 0;
    match random.usize(..=flowers.len()) {
        number if number < flowers.len() => FlowerChanged {
            flower_id: flowers[number],
            version,
            name,
            price,
            deleted,
        }
        .into(),
        _ => BouquetChanged {
            bouquet_id,
            version,
            name,
            price,
            deleted,
        }
        .into(),
    }
}

/// The orders that there are on the stage.
fn orders_of(stage: &Stage) -> Vec<OrderId> {
    let tables = stage.tables_of_ordering();
    let orders = tables["orders"].as_object().unwrap();
    orders.keys().map(|id| id.parse().unwrap()).collect()
}

impl Side for Ordering {
    type Call = Call;
    type Things = Things;
    type Intent = Intent;

    const SCHEMA: &'static str = "ordering";
    const TABLES: &'static str = include_str!("sql/ordering.sql");
    const EMPTIED: &'static [&'static str] = &[
        "order_items",
        "order_history",
        "order_notes",
        "orders",
        "catalog_items",
        "idempotency_keys",
        "inbox",
        "outbox_messages",
    ];

    fn things(random: &mut Rng) -> Things {
        Things {
            flowers: (0..2).map(|_| FlowerId::from(uuid(random))).collect(),
            bouquet: BouquetId::from(uuid(random)),
            told: Vec::new(),
            places: Vec::new(),
        }
    }

    fn setup(things: &Things, random: &mut Rng) -> Vec<Call> {
        let flowers = things.flowers.iter().map(|id| Product::Flower(*id));
        let products = flowers.chain([Product::Bouquet(things.bouquet)]);
        let changes = products.map(|product| CatalogChange {
            product,
            version: 1,
            name: "new".to_owned(),
            price: Money::rub(100).unwrap(),
            deleted: false,
            event_id: EventId::from(uuid(random)),
        });
        vec![Call::StoreCatalog(changes.collect())]
    }

    fn intent(things: &mut Things, stage: &Stage, random: &mut Rng) -> Intent {
        let orders = orders_of(stage);
        let keyed = |random: &mut Rng, scope| random.bool().then(|| key(random, scope));
        match random.u8(0..100) {
            0..25 => {
                let place = Place {
                    lines: vec![(random.usize(0..3), random.i64(1..4))],
                    key: keyed(random, "POST /orders"),
                };
                things.places.push(place);
                let place = pick(random, &things.places).cloned().unwrap();
                let line = |(product, quantity): (usize, i64)| CartLine {
                    product: match things.flowers.get(product) {
                        Some(id) => Product::Flower(*id),
                        None => Product::Bouquet(things.bouquet),
                    },
                    quantity: Quantity::try_from(quantity).unwrap(),
                };
                let lines: Vec<CartLine> = place.lines.into_iter().map(line).collect();
                Intent::Place {
                    cart: lines.try_into().unwrap(),
                    key: place.key,
                }
            }
            25..40 if !orders.is_empty() => Intent::Cancel {
                order_id: *pick(random, &orders).unwrap(),
                key: keyed(random, "POST /orders/cancel"),
            },
            40..48 => {
                let scope = if random.bool() {
                    "POST /orders"
                } else {
                    "POST /orders/cancel"
                };
                Intent::Refused(key(random, scope))
            }
            48..60 => {
                let known = (things.flowers.clone(), things.bouquet);
                let new = |random: &mut Rng| Some(of_the_catalog(random, (&known.0, known.1)));
                Intent::Batch(batch(random, &mut things.told, new))
            }
            _ => {
                let new = |random: &mut Rng| {
                    let order_id = pick(random, &orders).copied()?;
                    Some(of_an_order(random, order_id))
                };
                Intent::Batch(batch(random, &mut things.told, new))
            }
        }
    }

    fn pursue(stage: &Stage, intent: Intent, tape: Tape<Call>, _: &mut Rng) {
        let recorder = Recorder {
            port: stage.ordering(None),
            tape,
        };
        stage.run(async move {
            match intent {
                Intent::Batch(batch) => drop(handle_events(&recorder, batch).await),
                Intent::Place { cart, key } => {
                    let customer = Customer {
                        user_id: UserId::from(Uuid::from_u128(1)),
                        delivery_address: Address::try_from("1 Rose Street".to_owned()).unwrap(),
                        payment_method: PaymentMethod::Visa,
                    };
                    let command = PlaceOrder {
                        customer,
                        cart,
                        expected_total: None,
                        key,
                        trace: Traceparent::random(),
                    };
                    let patience = Duration::from_secs(900);
                    drop(place_order(&recorder, command, patience, |order| answer(&order.id)).await);
                }
                Intent::Cancel { order_id, key } => {
                    let command = CancelOrder {
                        order_id,
                        owner: None,
                        key,
                        trace: Traceparent::random(),
                    };
                    drop(cancel_order(&recorder, &command, |order| answer(&order.status.as_str())).await);
                }
                Intent::Refused(key) => {
                    let refused = async { Err::<Done, _>(Problem::not_found("order")) };
                    drop(once(&recorder, Some(&key), "/orders", refused).await);
                }
            }
        });
    }

    fn raised(call: &Call) -> Option<Call> {
        match call {
            Call::Store(changes) => {
                let mut changes = changes.clone();
                changes.iter_mut().for_each(|change| change.version += 1);
                Some(Call::Store(changes))
            }
            Call::StoreRequested(change, keyed) => {
                let mut change = change.clone();
                change.version += 1;
                Some(Call::StoreRequested(change, keyed.clone()))
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
        let port = stage.ordering(key_of(&call));
        async move { make(&port, &call).await }
    }

    fn tables(stage: &Stage) -> Value {
        stage.tables_of_ordering()
    }
}

/// Reads from the model, and has the tape keep what is to be written.
struct Recorder<P> {
    port: P,
    tape: Tape<Call>,
}

fn owned(keyed: Option<Keyed<'_>>) -> Option<(IdempotencyKey, KeptAnswer)> {
    keyed.map(|(key, answer)| (key.clone(), answer.clone()))
}

impl<P: Orders> KeptAnswers for Recorder<P> {
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Verdict, StoreError> {
        self.tape.keep(Call::Keep(key.clone(), answer.clone()))?;
        self.port.keep(key, answer).await
    }
}

impl<P: Orders> Orders for Recorder<P> {
    async fn catalog_items(&self, products: &[Product]) -> Result<Vec<CatalogItem>, StoreError> {
        self.port.catalog_items(products).await
    }

    async fn insert(
        &self,
        order: &Order,
        history: &HistoryItem,
        outgoing: &[Outgoing],
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError> {
        self.tape.keep(Call::Insert {
            order: order.clone(),
            history: history.clone(),
            outgoing: outgoing.to_vec(),
            keyed: owned(keyed),
        })?;
        self.port.insert(order, history, outgoing, keyed).await
    }

    async fn find(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError> {
        self.port.find(id, owner).await
    }

    async fn list(&self, filter: OrderFilter, page: PageQuery) -> Result<Page<Order>, StoreError> {
        self.port.list(filter, page).await
    }

    async fn history(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<StoredHistory>, StoreError> {
        self.port.history(id, owner).await
    }

    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        self.port.load(orders, events).await
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        self.tape.keep(Call::Store(changes.to_vec()))?;
        self.port.store(changes).await
    }

    async fn store_requested(
        &self,
        change: &Change,
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError> {
        self.tape
            .keep(Call::StoreRequested(change.clone(), owned(keyed)))?;
        self.port.store_requested(change, keyed).await
    }

    async fn store_catalog(&self, changes: &[CatalogChange]) -> Result<(), StoreError> {
        self.tape.keep(Call::StoreCatalog(changes.to_vec()))?;
        self.port.store_catalog(changes).await
    }
}
