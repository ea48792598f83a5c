//! The catalog: stock that is taken, put back and corrected, and what admins do to flowers, bouquets and categories.

use crate::ordering::{batch, pick, uuid};
use crate::scene::{Answer, Side, Tape};
use catalog::application::{
    BouquetError, BouquetFilter, Bouquets, Categories, CategoryError, FlowerCache, FlowerError, FlowerFilter,
    Flowers, KnownParts, Listing, Loaded, Lookup, Representation, ReservationChange, Reservations, Stored,
    Ticket, change_bouquet, change_category, change_flower, create_bouquet, create_category, create_flower,
    delete_bouquet, delete_category, delete_flower, handle_events,
};
use catalog::domain::{
    Bouquet, BouquetChange, BouquetItem, BouquetPatch, Category, CategoryPatch, Flower, FlowerChange,
    FlowerPatch, FlowerType, Items, NewBouquet, NewCategory, NewFlower, Quantity, StockChange, StockDelta,
};
use catalog::infrastructure::{PostgresBouquets, PostgresCategories, PostgresFlowers, PostgresReservations};
use contracts::{
    BouquetId, CategoryId, Event, EventId, FlowerId, Money, OrderCancelled, OrderCompleted, OrderCreated,
    OrderId, OrderLine, PaymentMethod, Received, Timestamp, UserId,
};
use fastrand::Rng;
use serde_json::Value;
use service::trace::Traceparent;
use service::{Database, IfMatch, Page, PageQuery, StoreError};
use shop_model::Stage;
use uuid::Uuid;

pub(crate) struct Catalog;

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Store(Vec<ReservationChange>, Timestamp),
    InsertFlower(FlowerChange, Traceparent),
    StoreFlower(FlowerChange, Traceparent),
    AddStock(FlowerId, StockDelta, Timestamp),
    InsertBouquet(BouquetChange, Traceparent),
    StoreBouquet(BouquetChange, Traceparent),
    InsertCategory(Category),
    StoreCategory(Category),
    DeleteCategory(Category),
}

async fn make(
    reservations: &impl Reservations,
    flowers: &impl Flowers,
    bouquets: &impl Bouquets,
    categories: &impl Categories,
    call: &Call,
) -> Answer {
    let of_flower = |error: FlowerError| match error {
        FlowerError::Store(error) => Err(error),
        error => Ok(format!("{error:?}")),
    };
    let of_bouquet = |error: BouquetError| match error {
        BouquetError::Store(error) => Err(error),
        error => Ok(format!("{error:?}")),
    };
    let of_category = |error: CategoryError| match error {
        CategoryError::Store(error) => Err(error),
        error => Ok(format!("{error:?}")),
    };
    let text = |done: bool| done.to_string();
    let answer = match call {
        Call::Store(changes, at) => {
            let stored = reservations.store(changes, *at).await;
            return Answer::of(stored, |mut stored: Stored| {
                stored.orders.sort();
                stored.flowers.sort();
                Answer::given(&stored)
            });
        }
        Call::AddStock(id, delta, at) => {
            return Answer::of(flowers.add_stock(*id, *delta, *at).await, |flower| {
                Answer::given(&flower)
            });
        }
        Call::InsertFlower(change, trace) => {
            let inserted = flowers.insert(change, trace).await;
            inserted.map(|()| String::new()).or_else(of_flower)
        }
        Call::StoreFlower(change, trace) => flowers.store(change, trace).await.map(text).or_else(of_flower),
        Call::InsertBouquet(change, trace) => {
            let inserted = bouquets.insert(change, trace).await;
            inserted.map(|()| String::new()).or_else(of_bouquet)
        }
        Call::StoreBouquet(change, trace) => {
            bouquets.store(change, trace).await.map(text).or_else(of_bouquet)
        }
        Call::InsertCategory(category) => {
            let inserted = categories.insert(category).await;
            inserted.map(|()| String::new()).or_else(of_category)
        }
        Call::StoreCategory(category) => categories.store(category).await.map(text).or_else(of_category),
        Call::DeleteCategory(category) => categories.delete(category).await.map(text).or_else(of_category),
    };
    Answer::of(answer, Answer::Given)
}

pub(crate) struct Things {
    orders: Vec<OrderId>,
    told: Vec<Received>,
}

#[derive(Clone)]
pub(crate) enum Intent {
    Batch(Vec<Received>),
    CreateFlower(i64),
    ChangeFlower(FlowerId, FlowerPatch),
    DeleteFlower(FlowerId),
    CreateBouquet(CategoryId, Vec<(FlowerId, i64)>),
    ChangeBouquet(BouquetId, BouquetPatch),
    DeleteBouquet(BouquetId),
    CreateCategory(String),
    ChangeCategory(CategoryId, String),
    DeleteCategory(CategoryId),
}

/// The ids of what is in a table of the stage and is not deleted.
fn ids<I: From<Uuid>>(tables: &Value, table: &str) -> Vec<I> {
    let rows = tables[table].as_object().unwrap().iter();
    let live = rows.filter(|(_, row)| row["deleted"] != true);
    live.map(|(id, _)| I::from(id.parse::<Uuid>().unwrap())).collect()
}

fn items(random: &mut Rng, flowers: &[FlowerId]) -> Vec<(FlowerId, i64)> {
    let first = random.usize(..flowers.len());
    let count = random.usize(1..=flowers.len().min(2));
    let some = flowers.iter().cycle().skip(first).take(count);
    some.map(|id| (*id, random.i64(1..3))).collect()
}

fn items_of(parts: &[(FlowerId, i64)]) -> Items {
    let item = |(flower_id, quantity): &(FlowerId, i64)| BouquetItem {
        flower_id: *flower_id,
        quantity: Quantity::try_from(*quantity).unwrap(),
    };
    Items::try_from(parts.iter().map(item).collect::<Vec<_>>()).unwrap()
}

fn name(random: &mut Rng) -> String {
    ["Roses", "Tulips", "Lilies"][random.usize(..3)].to_owned()
}

fn new_flower(stock: i64) -> NewFlower {
    NewFlower {
        name: "Rose".to_owned().try_into().unwrap(),
        description: None,
        price: Money::rub(150).unwrap().try_into().unwrap(),
        stock: stock.try_into().unwrap(),
        flower_type: FlowerType::Rose,
        image_url: None,
    }
}

fn flower_patch(random: &mut Rng) -> FlowerPatch {
    let delta = |random: &mut Rng| {
        // Some corrections leave the range.
        let number = if random.u8(0..8) == 0 {
            999_999
        } else {
            random.i64(-3..5)
        };
        StockChange::Add(number.try_into().unwrap())
    };
    match random.u8(0..4) {
        0 | 1 => FlowerPatch {
            stock: Some(delta(random)),
            ..FlowerPatch::default()
        },
        2 => FlowerPatch {
            price: Some(Money::rub(random.i64(1..900)).unwrap().try_into().unwrap()),
            stock: Some(delta(random)),
            ..FlowerPatch::default()
        },
        _ => FlowerPatch {
            name: Some(name(random).try_into().unwrap()),
            ..FlowerPatch::default()
        },
    }
}

fn new_category(name: String) -> NewCategory {
    NewCategory {
        name: name.try_into().unwrap(),
        description: None,
    }
}

fn event(random: &mut Rng, order_id: OrderId, products: &(Vec<FlowerId>, Vec<BouquetId>)) -> Event {
    let (flowers, bouquets) = products;
    match random.u8(0..10) {
        0..6 => {
            let line = |random: &mut Rng| {
                let bouquet_id = pick(random, bouquets).copied().filter(|_| random.u8(0..3) == 0);
                OrderLine {
                    flower_id: bouquet_id.is_none().then(|| match pick(random, flowers) {
                        Some(id) => *id,
                        None => FlowerId::from(Uuid::from_u128(7)),
                    }),
                    bouquet_id,
                    quantity: random.u32(1..4),
                    price: Money::ZERO,
                }
            };
            OrderCreated {
                order_id,
                user_id: UserId::from(Uuid::from_u128(1)),
                total: Money::ZERO,
                payment_method: PaymentMethod::Visa,
                payment_due_at: None,
                items: (0..random.usize(1..4)).map(|_| line(random)).collect(),
            }
            .into()
        }
        6..9 => OrderCancelled {
            order_id,
            reason: "cancelled_by_user".to_owned(),
        }
        .into(),
        _ => OrderCompleted { order_id }.into(),
    }
}

impl Side for Catalog {
    type Call = Call;
    type Things = Things;
    type Intent = Intent;

    const SCHEMA: &'static str = "catalog";
    const TABLES: &'static str = include_str!("sql/catalog.sql");
    const EMPTIED: &'static [&'static str] = &[
        "reservation_items",
        "reservations",
        "bouquet_items",
        "bouquets",
        "categories",
        "flowers",
        "inbox",
        "outbox_messages",
    ];

    fn things(random: &mut Rng) -> Things {
        Things {
            orders: (0..4).map(|_| OrderId::from(uuid(random))).collect(),
            told: Vec::new(),
        }
    }

    fn setup(_: &Things, random: &mut Rng) -> Vec<Call> {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let trace = Traceparent::random();
        let flowers: Vec<FlowerChange> = (0..3)
            .map(|_| Flower::create(new_flower(random.i64(0..8)), now))
            .collect();
        let category = Category::create(new_category("Roses".to_owned()), now);
        let parts: Vec<(FlowerId, i64)> = flowers
            .iter()
            .zip(1..)
            .map(|(flower, each)| (flower.flower.id, each))
            .take(2)
            .collect();
        let bouquet = NewBouquet {
            name: "Both".to_owned().try_into().unwrap(),
            description: None,
            price: Money::rub(500).unwrap().try_into().unwrap(),
            category_id: category.id,
            items: items_of(&parts),
            image_url: None,
        };
        let bouquet = Call::InsertBouquet(Bouquet::create(bouquet, now), trace.clone());
        let mut calls: Vec<Call> = flowers
            .into_iter()
            .map(|flower| Call::InsertFlower(flower, trace.clone()))
            .collect();
        calls.extend([Call::InsertCategory(category), bouquet]);
        calls
    }

    fn intent(things: &mut Things, stage: &Stage, random: &mut Rng) -> Intent {
        let tables = stage.tables_of_catalog();
        let flowers: Vec<FlowerId> = ids(&tables, "flowers");
        let bouquets: Vec<BouquetId> = ids(&tables, "bouquets");
        let categories: Vec<CategoryId> = ids(&tables, "categories");
        let flower = pick(random, &flowers).copied();
        let bouquet = pick(random, &bouquets).copied();
        let category = pick(random, &categories).copied();
        match (random.u8(0..100), flower, bouquet, category) {
            (50..52, ..) => Intent::CreateFlower(random.i64(0..8)),
            (52..70, Some(flower), ..) => Intent::ChangeFlower(flower, flower_patch(random)),
            (70..75, Some(flower), ..) => Intent::DeleteFlower(flower),
            (75..80, Some(_), _, Some(category)) => Intent::CreateBouquet(category, items(random, &flowers)),
            (80..86, Some(_), Some(bouquet), _) => {
                let patch = BouquetPatch {
                    name: random.bool().then(|| name(random).try_into().unwrap()),
                    items: random.bool().then(|| items_of(&items(random, &flowers))),
                    category_id: category.filter(|_| random.bool()),
                    ..BouquetPatch::default()
                };
                Intent::ChangeBouquet(bouquet, patch)
            }
            (86..89, _, Some(bouquet), _) => Intent::DeleteBouquet(bouquet),
            (89..93, ..) => Intent::CreateCategory(name(random)),
            (93..97, .., Some(category)) => Intent::ChangeCategory(category, name(random)),
            (97..100, .., Some(category)) => Intent::DeleteCategory(category),
            _ => {
                // Also what was deleted by now.
                let all = |table: &str| -> Vec<Uuid> {
                    let rows = tables[table].as_object().unwrap();
                    rows.keys().map(|id| id.parse().unwrap()).collect()
                };
                let flowers = all("flowers").into_iter().map(FlowerId::from).collect();
                let bouquets = all("bouquets").into_iter().map(BouquetId::from).collect();
                let (products, orders) = ((flowers, bouquets), things.orders.clone());
                let new = |random: &mut Rng| {
                    let order_id = *pick(random, &orders)?;
                    Some(event(random, order_id, &products))
                };
                Intent::Batch(batch(random, &mut things.told, new))
            }
        }
    }

    fn pursue(stage: &Stage, intent: Intent, tape: Tape<Call>, _: &mut Rng) {
        let recorder = Recorder {
            port: stage.catalog(),
            tape,
        };
        let (any, trace) = (IfMatch::Absent, Traceparent::random());
        stage.run(async move {
            let port = &recorder;
            match intent {
                Intent::Batch(batch) => drop(handle_events(port, port, batch).await),
                Intent::CreateFlower(stock) => {
                    drop(create_flower(port, port, new_flower(stock), &trace).await);
                }
                Intent::ChangeFlower(id, patch) => {
                    drop(change_flower(port, port, id, &any, &patch, &trace).await);
                }
                Intent::DeleteFlower(id) => drop(delete_flower(port, port, id, &any, &trace).await),
                Intent::CreateBouquet(category_id, parts) => {
                    let new = NewBouquet {
                        name: "New".to_owned().try_into().unwrap(),
                        description: None,
                        price: Money::rub(400).unwrap().try_into().unwrap(),
                        category_id,
                        items: items_of(&parts),
                        image_url: None,
                    };
                    drop(create_bouquet(port, new, &trace).await);
                }
                Intent::ChangeBouquet(id, patch) => {
                    drop(change_bouquet(port, id, &any, &patch, &trace).await);
                }
                Intent::DeleteBouquet(id) => drop(delete_bouquet(port, id, &any, &trace).await),
                Intent::CreateCategory(name) => drop(create_category(port, new_category(name)).await),
                Intent::ChangeCategory(id, name) => {
                    let patch = CategoryPatch {
                        name: Some(name.try_into().unwrap()),
                        description: None,
                    };
                    drop(change_category(port, id, &any, &patch).await);
                }
                Intent::DeleteCategory(id) => drop(delete_category(port, id, &any).await),
            }
        });
    }

    fn raised(call: &Call) -> Option<Call> {
        match call {
            Call::Store(changes, at) => {
                let mut changes = changes.clone();
                changes.iter_mut().for_each(|change| change.version += 1);
                // What was asked for was decided by then.
                let is_decided = |change: &ReservationChange| change.reservation.status().is_some();
                changes.retain(is_decided);
                (!changes.is_empty()).then_some(Call::Store(changes, *at))
            }
            _ => None,
        }
    }

    fn key(_: &Call) -> Option<String> {
        None
    }

    async fn on_postgres(database: &Database, call: &Call) -> Answer {
        let (reservations, flowers) = (
            PostgresReservations::new(database),
            PostgresFlowers::new(database),
        );
        let (bouquets, categories) = (PostgresBouquets::new(database), PostgresCategories::new(database));
        make(&reservations, &flowers, &bouquets, &categories, call).await
    }

    fn on_model(stage: &Stage, call: Call) -> impl Future<Output = Answer> + 'static {
        let port = stage.catalog();
        async move { make(&port, &port, &port, &port, &call).await }
    }

    fn tables(stage: &Stage) -> Value {
        stage.tables_of_catalog()
    }
}

/// Reads from the model, and has the tape keep what is to be written. There is no cache.
struct Recorder<P> {
    port: P,
    tape: Tape<Call>,
}

impl<P: Reservations> Reservations for Recorder<P> {
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        self.port.load(orders, events).await
    }

    async fn store(&self, changes: &[ReservationChange], at: Timestamp) -> Result<Stored, StoreError> {
        self.tape.keep(Call::Store(changes.to_vec(), at))?;
        self.port.store(changes, at).await
    }
}

impl<P: Flowers> Flowers for Recorder<P> {
    async fn find(&self, id: FlowerId) -> Result<Option<Flower>, StoreError> {
        self.port.find(id).await
    }

    async fn list(&self, filter: &FlowerFilter, page: PageQuery) -> Result<Page<Flower>, StoreError> {
        self.port.list(filter, page).await
    }

    async fn insert(&self, change: &FlowerChange, trace: &Traceparent) -> Result<(), FlowerError> {
        self.tape
            .keep(Call::InsertFlower(change.clone(), trace.clone()))?;
        self.port.insert(change, trace).await
    }

    async fn store(&self, change: &FlowerChange, trace: &Traceparent) -> Result<bool, FlowerError> {
        self.tape.keep(Call::StoreFlower(change.clone(), trace.clone()))?;
        self.port.store(change, trace).await
    }

    async fn add_stock(
        &self,
        id: FlowerId,
        delta: StockDelta,
        now: Timestamp,
    ) -> Result<Option<Flower>, StoreError> {
        self.tape.keep(Call::AddStock(id, delta, now))?;
        self.port.add_stock(id, delta, now).await
    }
}

impl<P: Bouquets> Bouquets for Recorder<P> {
    async fn find(&self, id: BouquetId) -> Result<Option<Bouquet>, StoreError> {
        self.port.find(id).await
    }

    async fn list(&self, filter: BouquetFilter, page: PageQuery) -> Result<Page<Bouquet>, StoreError> {
        self.port.list(filter, page).await
    }

    async fn known_parts(
        &self,
        flowers: &[FlowerId],
        category: CategoryId,
    ) -> Result<KnownParts, StoreError> {
        self.port.known_parts(flowers, category).await
    }

    async fn insert(&self, change: &BouquetChange, trace: &Traceparent) -> Result<(), BouquetError> {
        self.tape
            .keep(Call::InsertBouquet(change.clone(), trace.clone()))?;
        self.port.insert(change, trace).await
    }

    async fn store(&self, change: &BouquetChange, trace: &Traceparent) -> Result<bool, BouquetError> {
        self.tape
            .keep(Call::StoreBouquet(change.clone(), trace.clone()))?;
        self.port.store(change, trace).await
    }
}

impl<P: Categories> Categories for Recorder<P> {
    async fn find(&self, id: CategoryId) -> Result<Option<Category>, StoreError> {
        self.port.find(id).await
    }

    async fn list(&self, page: PageQuery) -> Result<Page<Category>, StoreError> {
        self.port.list(page).await
    }

    async fn insert(&self, category: &Category) -> Result<(), CategoryError> {
        self.tape.keep(Call::InsertCategory(category.clone()))?;
        self.port.insert(category).await
    }

    async fn store(&self, category: &Category) -> Result<bool, CategoryError> {
        self.tape.keep(Call::StoreCategory(category.clone()))?;
        self.port.store(category).await
    }

    async fn delete(&self, category: &Category) -> Result<bool, CategoryError> {
        self.tape.keep(Call::DeleteCategory(category.clone()))?;
        self.port.delete(category).await
    }
}

impl<P: FlowerCache> FlowerCache for Recorder<P> {
    async fn flower(&self, id: FlowerId) -> Lookup<Representation> {
        self.port.flower(id).await
    }

    async fn keep_flower(&self, id: FlowerId, ticket: Ticket, flower: &Representation) {
        self.port.keep_flower(id, ticket, flower).await;
    }

    async fn give_back(&self, id: FlowerId, ticket: Ticket) {
        self.port.give_back(id, ticket).await;
    }

    async fn list(&self, filter: &FlowerFilter, page: PageQuery) -> Lookup<Listing> {
        self.port.list(filter, page).await
    }

    async fn keep_list(&self, filter: &FlowerFilter, page: PageQuery, ticket: Ticket, listing: &Listing) {
        self.port.keep_list(filter, page, ticket, listing).await;
    }

    async fn forget(&self, ids: &[FlowerId]) {
        self.port.forget(ids).await;
    }
}
