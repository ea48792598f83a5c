//! Orders in Postgres.

use crate::application::{
    CatalogChange, Change, HistoryItem, Keyed, Loaded, NoteItem, OrderFilter, Orders, Outgoing,
    StoredHistory, StoredHistoryItem,
};
use crate::domain::{CatalogItem, Order, OrderItem, Product, Quantity, StatusReason};
use contracts::{BouquetId, EventId, FlowerId, Money, OrderId, OrderItemId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use service::database::{Database, Row, Session, jsonb, uuids};
use service::idempotency::{self, IdempotencyKey, KeptAnswer, KeptAnswers, Verdict};
use service::outbox::OutboxRow;
use service::{Page, PageQuery, StoreError};
use spin_sdk::pg::ParameterValue;
use uuid::Uuid;

const INSERT_ORDER: &str = include_str!("sql/insert_order.sql");
const INSERT_ORDER_KEYED: &str = include_str!("sql/insert_order_keyed.sql");

/// One request's view of ordering's schema.
pub struct PostgresOrders<'a> {
    session: Session<'a>,
}

impl<'a> PostgresOrders<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }
}

impl PostgresOrders<'_> {
    /// Runs a statement that gives one row for [`Verdict::read`].
    async fn verdict(&self, statement: &str, parameters: Vec<ParameterValue>) -> Result<Verdict, StoreError> {
        let row = self.session.query_one(statement, parameters).await?;
        let row = row.ok_or_else(|| StoreError::Mistake("a keyed statement without an answer".to_owned()))?;
        Verdict::read(&row)
    }
}

impl KeptAnswers for PostgresOrders<'_> {
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Verdict, StoreError> {
        idempotency::keep(&self.session, key, answer).await
    }
}

impl Orders for PostgresOrders<'_> {
    async fn catalog_items(&self, products: &[Product]) -> Result<Vec<CatalogItem>, StoreError> {
        let ids = products.iter().map(|product| product.id());
        let rows = self
            .session
            .query(include_str!("sql/catalog_items.sql"), vec![uuids(ids)])
            .await?;
        let item = |row: &Row| {
            let id: Uuid = row.get("id")?;
            let product = match row.get::<String>("kind")?.as_str() {
                "flower" => Product::Flower(id.into()),
                _ => Product::Bouquet(id.into()),
            };
            Ok(CatalogItem {
                product,
                price: money(row.get("price_minor")?)?,
            })
        };
        rows.iter().map(item).collect()
    }

    async fn insert(
        &self,
        order: &Order,
        history: &HistoryItem,
        outgoing: &[Outgoing],
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError> {
        let items: Vec<_> = order.items.iter().enumerate().map(WrittenItem::new).collect();
        let mut parameters = vec![
            order.id.as_uuid().into(),
            order.user_id.as_uuid().into(),
            order.status.as_str().to_owned().into(),
            order.total.minor().into(),
            order.total.currency().code().to_owned().into(),
            order.delivery_address.clone().into(),
            order.payment_method.as_str().to_owned().into(),
            order.created_at.naive().into(),
            order.payment_due_at.map(Timestamp::naive).into(),
            jsonb(&items)?,
            history.cause.clone().into_owned().into(),
            history.trace_id.clone().into(),
            jsonb(&messages(outgoing, order.created_at)?)?,
        ];
        if keyed.is_some() {
            parameters.push(key(keyed)?);
            return self.verdict(INSERT_ORDER_KEYED, parameters).await;
        }
        self.session.query(INSERT_ORDER, parameters).await?;
        Ok(Verdict::Stored)
    }

    async fn find(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError> {
        let parameters = vec![id.as_uuid().into(), owner.map(UserId::as_uuid).into()];
        let row = self
            .session
            .query_one(include_str!("sql/find_order.sql"), parameters)
            .await?;
        row.as_ref().map(order).transpose()
    }

    async fn list(&self, filter: OrderFilter, page: PageQuery) -> Result<Page<Order>, StoreError> {
        let parameters = vec![
            filter.user_id.map(UserId::as_uuid).into(),
            filter.status.map(|status| status.as_str().to_owned()).into(),
            filter.created_from.map(Timestamp::naive).into(),
            filter.created_to.map(Timestamp::naive).into(),
            page.skip.into(),
            page.limit.into(),
        ];
        let rows = self
            .session
            .query(include_str!("sql/list_orders.sql"), parameters)
            .await?;
        let total = rows.first().map_or(Ok(0), |row| row.get("total"))?;
        let mut orders = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.get::<Option<Uuid>>("id")?.is_some() {
                orders.push(order(row)?);
            }
        }
        Ok(Page::new(page, total, orders))
    }

    async fn history(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<StoredHistory>, StoreError> {
        let parameters = vec![id.as_uuid().into(), owner.map(UserId::as_uuid).into()];
        let row = self
            .session
            .query_one(include_str!("sql/order_history.sql"), parameters)
            .await?;
        let lines = |row: &Row, column: &str| -> Result<Vec<StoredHistoryItem>, StoreError> {
            let items: Vec<ReadHistoryItem> = row.json(column)?;
            Ok(items.into_iter().map(StoredHistoryItem::from).collect())
        };
        row.map(|row| {
            Ok(StoredHistory {
                items: lines(&row, "items")?,
                notes: lines(&row, "notes")?,
            })
        })
        .transpose()
    }

    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let parameters = vec![
            uuids(orders.iter().map(|id| id.as_uuid())),
            uuids(events.iter().map(|id| id.as_uuid())),
        ];
        let mut loaded = Loaded::default();
        for row in self
            .session
            .query(include_str!("sql/load_batch.sql"), parameters)
            .await?
        {
            match row.get::<Option<Uuid>>("handled")? {
                Some(id) => loaded.handled.push(id.into()),
                None => loaded.orders.push(order(&row)?),
            }
        }
        Ok(loaded)
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        let states: Vec<_> = changes.iter().map(WrittenChange::new).collect();
        let mut handled = Vec::new();
        let mut history = Vec::new();
        let mut notes = Vec::new();
        let mut outbox = Vec::new();
        for change in changes {
            let order_id = change.order_id;
            handled.extend(change.handled.iter().map(|event_id| WrittenHandled {
                order_id,
                event_id: *event_id,
            }));
            let items = change.history.iter().enumerate();
            history.extend(items.map(|(position, item)| WrittenHistoryItem::new(order_id, position, item)));
            let items = change.notes.iter().enumerate();
            notes.extend(items.map(|(position, item)| WrittenNote::new(order_id, position, item)));
            outbox.extend(messages(&change.outgoing, change.at)?);
        }
        let parameters = vec![
            jsonb(&states)?,
            jsonb(&handled)?,
            jsonb(&history)?,
            jsonb(&outbox)?,
            jsonb(&notes)?,
        ];
        let rows = self
            .session
            .query(include_str!("sql/store_changes.sql"), parameters)
            .await?;
        rows.iter().map(|row| Ok(row.get::<Uuid>("id")?.into())).collect()
    }

    async fn store_requested(
        &self,
        change: &Change,
        keyed: Option<Keyed<'_>>,
    ) -> Result<Verdict, StoreError> {
        let items = change.history.iter().enumerate();
        let history: Vec<_> = items
            .map(|(position, item)| WrittenHistoryItem::new(change.order_id, position, item))
            .collect();
        let parameters = vec![
            jsonb(&WrittenChange::new(change))?,
            jsonb(&history)?,
            jsonb(&messages(&change.outgoing, change.at)?)?,
            key(keyed)?,
        ];
        self.verdict(include_str!("sql/store_requested.sql"), parameters)
            .await
    }

    async fn store_catalog(&self, changes: &[CatalogChange]) -> Result<(), StoreError> {
        // One statement writes a row once: of several changes of one product the newest stands for all.
        let mut newest: Vec<&CatalogChange> = Vec::with_capacity(changes.len());
        for change in changes {
            match newest.iter_mut().find(|other| other.product == change.product) {
                Some(other) if other.version < change.version => *other = change,
                Some(_) => {}
                None => newest.push(change),
            }
        }
        let items: Vec<_> = newest.into_iter().map(WrittenCatalogItem::new).collect();
        let events: Vec<_> = changes
            .iter()
            .map(|change| WrittenEvent {
                event_id: change.event_id,
            })
            .collect();
        let parameters = vec![jsonb(&items)?, jsonb(&events)?];
        self.session
            .query(include_str!("sql/store_catalog.sql"), parameters)
            .await?;
        Ok(())
    }
}

fn order(row: &Row) -> Result<Order, StoreError> {
    let items: Vec<ReadItem> = row.json("items")?;
    let due: Option<chrono::NaiveDateTime> = row.get("payment_due_at")?;
    let reason: Option<String> = row.get("status_reason")?;
    Ok(Order {
        id: row.get::<Uuid>("id")?.into(),
        user_id: row.get::<Uuid>("user_id")?.into(),
        status: row.word("status")?,
        status_reason: reason.map(|_| row.word("status_reason")).transpose()?,
        total: money(row.get("total_minor")?)?,
        delivery_address: row.get("delivery_address")?,
        payment_method: row.word("payment_method")?,
        payment_due_at: due.map(Timestamp::from),
        payment_attempt: u32::try_from(row.get::<i32>("payment_attempt")?).unwrap_or_default(),
        stock_reserved: row.get("stock_reserved")?,
        version: row.get("version")?,
        items: items
            .into_iter()
            .map(ReadItem::into_item)
            .collect::<Result<_, _>>()?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn key(keyed: Option<Keyed<'_>>) -> Result<ParameterValue, StoreError> {
    idempotency::parameter(keyed.map(|(key, _)| key), keyed.map(|(_, answer)| answer))
}

/// The outbox rows of what is told at `at`.
fn messages(outgoing: &[Outgoing], at: Timestamp) -> Result<Vec<OutboxRow>, StoreError> {
    let row = |Outgoing { event, trace, due_at }: &Outgoing| match due_at {
        Some(due_at) => OutboxRow::timer(event, at, *due_at, trace),
        None => OutboxRow::new(event, at, trace),
    };
    outgoing.iter().map(row).collect()
}

fn money(minor: i64) -> Result<Money, StoreError> {
    Money::rub(minor).map_err(|error| StoreError::Mistake(error.to_string()))
}

#[derive(Serialize)]
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
        let (flower_id, bouquet_id) = match item.product {
            Product::Flower(id) => (Some(id), None),
            Product::Bouquet(id) => (None, Some(id)),
        };
        let (quantity, price_minor) = (item.quantity.get(), item.price.minor());
        Self {
            id: item.id,
            position,
            flower_id,
            bouquet_id,
            quantity,
            price_minor,
        }
    }
}

#[derive(Deserialize)]
struct ReadItem {
    id: OrderItemId,
    flower_id: Option<FlowerId>,
    bouquet_id: Option<BouquetId>,
    quantity: i64,
    price_minor: i64,
}

impl ReadItem {
    fn into_item(self) -> Result<OrderItem, StoreError> {
        let product = match (self.flower_id, self.bouquet_id) {
            (Some(id), None) => Product::Flower(id),
            (None, Some(id)) => Product::Bouquet(id),
            _ => return Err(StoreError::Mistake("an item of no product".to_owned())),
        };
        let quantity =
            Quantity::try_from(self.quantity).map_err(|error| StoreError::Mistake(error.to_string()))?;
        Ok(OrderItem {
            id: self.id,
            product,
            quantity,
            price: money(self.price_minor)?,
        })
    }
}

#[derive(Deserialize)]
struct ReadHistoryItem {
    what: String,
    at: chrono::NaiveDateTime,
    cause: String,
    event_id: Option<Uuid>,
    trace_id: String,
}

impl From<ReadHistoryItem> for StoredHistoryItem {
    fn from(item: ReadHistoryItem) -> Self {
        Self {
            what: item.what,
            at: item.at.into(),
            cause: item.cause,
            event_id: item.event_id,
            trace_id: item.trace_id,
        }
    }
}

#[derive(Serialize)]
struct WrittenChange {
    order_id: OrderId,
    version: i64,
    status: &'static str,
    status_reason: Option<&'static str>,
    payment_attempt: u32,
    stock_reserved: bool,
    at: Timestamp,
}

impl WrittenChange {
    fn new(change: &Change) -> Self {
        Self {
            order_id: change.order_id,
            version: change.version,
            status: change.status.as_str(),
            status_reason: change.status_reason.map(StatusReason::as_str),
            payment_attempt: change.payment_attempt,
            stock_reserved: change.stock_reserved,
            at: change.at,
        }
    }
}

#[derive(Serialize)]
struct WrittenHandled {
    order_id: OrderId,
    event_id: EventId,
}

#[derive(Serialize)]
struct WrittenEvent {
    event_id: EventId,
}

#[derive(Serialize)]
struct WrittenHistoryItem<'a> {
    order_id: OrderId,
    position: usize,
    status: &'static str,
    at: Timestamp,
    cause: &'a str,
    event_id: Option<EventId>,
    trace_id: &'a str,
}

impl<'a> WrittenHistoryItem<'a> {
    fn new(order_id: OrderId, position: usize, item: &'a HistoryItem) -> Self {
        let HistoryItem {
            status,
            at,
            cause,
            event_id,
            trace_id,
        } = item;
        Self {
            order_id,
            position,
            status: status.as_str(),
            at: *at,
            cause,
            event_id: *event_id,
            trace_id,
        }
    }
}

#[derive(Serialize)]
struct WrittenNote<'a> {
    order_id: OrderId,
    position: usize,
    note: &'static str,
    at: Timestamp,
    cause: &'a str,
    event_id: Option<EventId>,
    trace_id: &'a str,
}

impl<'a> WrittenNote<'a> {
    fn new(order_id: OrderId, position: usize, item: &'a NoteItem) -> Self {
        Self {
            order_id,
            position,
            note: item.note.as_str(),
            at: item.at,
            cause: &item.cause,
            event_id: item.event_id,
            trace_id: &item.trace_id,
        }
    }
}

#[derive(Serialize)]
struct WrittenCatalogItem<'a> {
    id: Uuid,
    kind: &'static str,
    name: &'a str,
    price_minor: i64,
    currency: &'static str,
    version: i64,
    deleted: bool,
}

impl<'a> WrittenCatalogItem<'a> {
    fn new(change: &'a CatalogChange) -> Self {
        let kind = match change.product {
            Product::Flower(_) => "flower",
            Product::Bouquet(_) => "bouquet",
        };
        Self {
            id: change.product.id(),
            kind,
            name: &change.name,
            price_minor: change.price.minor(),
            currency: change.price.currency().code(),
            version: change.version,
            deleted: change.deleted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_with_a_key_is_inserted_as_one_without() {
        let words = |statement: &str| -> Vec<String> {
            let from_gate = statement.find("gate as (").map(|start| &statement[start..]);
            let text = from_gate.unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        };
        let keyed = words(INSERT_ORDER_KEYED).join(" ");
        let keyed = keyed.replace(" where exists (select from stored)", "");
        let keyed = keyed.replace("), outbox as ( insert into", ") insert into");
        let plain = words(INSERT_ORDER).join(" ");
        assert!(plain.contains("coalesce(message.due_at, now())"), "{plain}");
        assert!(keyed.starts_with(&plain), "{keyed}\n{plain}");
    }
}
