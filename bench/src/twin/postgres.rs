//! Ordering's statements, run natively: the very files that the component runs.

use super::shapes::split;
use super::{Failure, Settings, Statements, unavailable};
use anyhow::Result;
use contracts::{BouquetId, FlowerId, Money, OrderItemId, Timestamp, UserId};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use ordering::domain::{CatalogItem, Order, OrderItem, Product, Quantity};
use serde::{Deserialize, Serialize};
use service::outbox::OutboxRow;
use service::trace::Traceparent;
use service::{Page, PageQuery};
use tokio_postgres::types::{FromSql, Json, ToSql};
use tokio_postgres::{NoTls, Row};
use uuid::Uuid;

const CATALOG_ITEMS: &str =
    include_str!("../../../components/ordering/src/infrastructure/sql/catalog_items.sql");
const INSERT_ORDER: &str =
    include_str!("../../../components/ordering/src/infrastructure/sql/insert_order.sql");
const LIST_ORDERS: &str = include_str!("../../../components/ordering/src/infrastructure/sql/list_orders.sql");

/// A pool of connections.
pub(super) struct Postgres {
    pool: Pool,
    statements: Statements,
}

/// One request's connection.
pub(super) struct Session {
    client: Object,
    statements: Statements,
}

impl Postgres {
    /// Connects when it is first needed.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let config = settings.database_url.parse()?;
        // deadpool's default: nothing is asked of a connection before it is used again.
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(settings.postgres_connections)
            .build()?;
        Ok(Self {
            pool,
            statements: settings.statements,
        })
    }

    pub(super) async fn session(&self) -> Result<Session, Failure> {
        Ok(Session {
            client: self.pool.get().await.map_err(unavailable)?,
            statements: self.statements,
        })
    }
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Session {
    async fn query(&self, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        let rows = match self.statements {
            Statements::PerCall => self.client.query(statement, parameters).await,
            Statements::Cached => match self.client.prepare_cached(statement).await {
                Ok(statement) => self.client.query(&statement, parameters).await,
                Err(error) => Err(error),
            },
        };
        rows.map_err(unavailable)
    }

    pub(super) async fn catalog_items(&self, products: &[Product]) -> Result<Vec<CatalogItem>, Failure> {
        let ids: Vec<String> = products.iter().map(|product| product.id().to_string()).collect();
        let rows = self.query(CATALOG_ITEMS, &[&ids]).await?;
        rows.iter().map(catalog_item).collect()
    }

    pub(super) async fn insert(
        &self,
        order: &Order,
        messages: &[OutboxRow],
        trace: &Traceparent,
    ) -> Result<(), Failure> {
        let items: Vec<_> = order.items.iter().enumerate().map(WrittenItem::new).collect();
        self.query(
            INSERT_ORDER,
            &[
                &order.id.as_uuid(),
                &order.user_id.as_uuid(),
                &order.status.as_str(),
                &order.total.minor(),
                &order.total.currency().code(),
                &order.delivery_address,
                &order.payment_method.as_str(),
                &order.created_at.naive(),
                &order.payment_due_at.map(Timestamp::naive),
                &Json(&items),
                &"OrderPlaced",
                &trace.trace_id(),
                &Json(messages),
            ],
        )
        .await?;
        Ok(())
    }

    pub(super) async fn list(&self, owner: Option<UserId>, page: PageQuery) -> Result<Page<Order>, Failure> {
        let owner = owner.map(UserId::as_uuid);
        let (status, from, to) = (
            None::<String>,
            None::<chrono::NaiveDateTime>,
            None::<chrono::NaiveDateTime>,
        );
        let rows = self
            .query(
                LIST_ORDERS,
                &[&owner, &status, &from, &to, &page.skip, &page.limit],
            )
            .await?;
        let total = rows.first().map_or(Ok(0), |row| get(row, "total"))?;
        let mut orders = Vec::with_capacity(rows.len());
        for row in &rows {
            if get::<Option<Uuid>>(row, "id")?.is_some() {
                orders.push(order(row)?);
            }
        }
        Ok(Page::new(page, total, orders))
    }
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, Failure> {
    row.try_get(column).map_err(unavailable)
}

fn catalog_item(row: &Row) -> Result<CatalogItem, Failure> {
    let id: Uuid = get(row, "id")?;
    let product = match get::<&str>(row, "kind")? {
        "flower" => Product::Flower(id.into()),
        _ => Product::Bouquet(id.into()),
    };
    Ok(CatalogItem {
        product,
        price: money(get(row, "price_minor")?)?,
    })
}

fn order(row: &Row) -> Result<Order, Failure> {
    let items: Option<Json<Vec<ReadItem>>> = get(row, "items")?;
    let items = items.map(|Json(items)| items).unwrap_or_default();
    let reason: Option<&str> = get(row, "status_reason")?;
    let attempt: i32 = get(row, "payment_attempt")?;
    Ok(Order {
        id: get::<Uuid>(row, "id")?.into(),
        user_id: get::<Uuid>(row, "user_id")?.into(),
        status: get::<&str>(row, "status")?.parse().map_err(unavailable)?,
        status_reason: reason.map(str::parse).transpose().map_err(unavailable)?,
        total: money(get(row, "total_minor")?)?,
        delivery_address: get(row, "delivery_address")?,
        payment_method: get::<&str>(row, "payment_method")?.parse().map_err(unavailable)?,
        payment_due_at: get::<Option<chrono::NaiveDateTime>>(row, "payment_due_at")?.map(Timestamp::from),
        payment_attempt: attempt.try_into().map_err(unavailable)?,
        stock_reserved: get(row, "stock_reserved")?,
        version: get(row, "version")?,
        items: items
            .into_iter()
            .map(ReadItem::into_item)
            .collect::<Result<_, _>>()?,
        created_at: get::<chrono::NaiveDateTime>(row, "created_at")?.into(),
        updated_at: get::<chrono::NaiveDateTime>(row, "updated_at")?.into(),
    })
}

fn money(minor: i64) -> Result<Money, Failure> {
    Money::rub(minor).map_err(unavailable)
}

#[derive(Debug, Serialize)]
struct WrittenItem {
    id: OrderItemId,
    position: usize,
    flower_id: Option<FlowerId>,
    bouquet_id: Option<BouquetId>,
    quantity: u32,
    price_minor: i64,
}

impl WrittenItem {
    fn new((position, item): (usize, &OrderItem)) -> Self {
        let (flower_id, bouquet_id) = split(item.product);
        Self {
            id: item.id,
            position,
            flower_id,
            bouquet_id,
            quantity: item.quantity.get(),
            price_minor: item.price.minor(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct ReadItem {
    id: OrderItemId,
    flower_id: Option<FlowerId>,
    bouquet_id: Option<BouquetId>,
    quantity: i64,
    price_minor: i64,
}

impl ReadItem {
    fn into_item(self) -> Result<OrderItem, Failure> {
        let flower = self.flower_id.map(Product::Flower);
        let product = flower.or(self.bouquet_id.map(Product::Bouquet));
        Ok(OrderItem {
            id: self.id,
            product: product.ok_or(Failure::Unavailable)?,
            quantity: Quantity::try_from(self.quantity).map_err(unavailable)?,
            price: money(self.price_minor)?,
        })
    }
}
