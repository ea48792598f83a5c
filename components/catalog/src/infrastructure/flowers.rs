//! Flowers in Postgres.

use crate::application::{FlowerError, FlowerFilter, Flowers};
use crate::domain::{Flower, FlowerChange, Stock, StockDelta};
use contracts::{Event, FlowerId, Money, Timestamp};
use service::database::{Database, Row, Session, jsonb};
use service::outbox::OutboxRow;
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};
use spin_sdk::pg::ParameterValue;
use uuid::Uuid;

/// One request's view of the flowers.
pub struct PostgresFlowers<'a> {
    session: Session<'a>,
}

impl<'a> PostgresFlowers<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }
}

impl Flowers for PostgresFlowers<'_> {
    async fn find(&self, id: FlowerId) -> Result<Option<Flower>, StoreError> {
        let statement = include_str!("sql/find_flower.sql");
        let row = self
            .session
            .query_one(statement, vec![id.as_uuid().into()])
            .await?;
        row.as_ref().map(flower).transpose()
    }

    async fn list(&self, filter: &FlowerFilter, page: PageQuery) -> Result<Page<Flower>, StoreError> {
        let flower_type = filter.flower_type.map(|kind| kind.as_str().to_owned());
        let search = filter.search.as_ref().map(|search| search.as_str().to_owned());
        let parameters = vec![
            flower_type.into(),
            search.into(),
            page.skip.into(),
            page.limit.into(),
        ];
        let rows = self
            .session
            .query(include_str!("sql/list_flowers.sql"), parameters)
            .await?;
        page_of(page, &rows, flower)
    }

    async fn insert(&self, change: &FlowerChange, trace: &Traceparent) -> Result<(), FlowerError> {
        let flower = &change.flower;
        let parameters = vec![
            flower.id.as_uuid().into(),
            flower.name.clone().into(),
            flower.description.clone().into(),
            flower.price.minor().into(),
            flower.price.currency().code().to_owned().into(),
            flower.stock_quantity.into(),
            flower.flower_type.as_str().to_owned().into(),
            flower.image_url.clone().into(),
            flower.version.into(),
            flower.created_at.naive().into(),
            messages(change.event.clone(), flower.updated_at, trace)?,
        ];
        self.session
            .query(include_str!("sql/insert_flower.sql"), parameters)
            .await?;
        Ok(())
    }

    async fn store(&self, change: &FlowerChange, trace: &Traceparent) -> Result<bool, FlowerError> {
        let flower = &change.flower;
        let parameters = vec![
            flower.id.as_uuid().into(),
            change.decided_on().into(),
            flower.name.clone().into(),
            flower.description.clone().into(),
            flower.price.minor().into(),
            flower.price.currency().code().to_owned().into(),
            flower.stock_quantity.into(),
            flower.flower_type.as_str().to_owned().into(),
            flower.image_url.clone().into(),
            flower.version.into(),
            flower.updated_at.naive().into(),
            change.deleted.into(),
            messages(change.event.clone(), flower.updated_at, trace)?,
        ];
        let stored = self
            .session
            .query_one(include_str!("sql/update_flower.sql"), parameters)
            .await;
        match stored {
            Ok(row) => Ok(row.is_some()),
            Err(StoreError::Constraint(name)) if name == "bouquet_items_flower" => {
                Err(FlowerError::InBouquet)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn add_stock(
        &self,
        id: FlowerId,
        delta: StockDelta,
        now: Timestamp,
    ) -> Result<Option<Flower>, StoreError> {
        let parameters = vec![
            id.as_uuid().into(),
            delta.get().into(),
            Stock::MAX.into(),
            now.naive().into(),
        ];
        let row = self
            .session
            .query_one(include_str!("sql/add_stock.sql"), parameters)
            .await?;
        row.as_ref().map(flower).transpose()
    }
}

fn flower(row: &Row) -> Result<Flower, StoreError> {
    Ok(Flower {
        id: row.get::<Uuid>("id")?.into(),
        name: row.get("name")?,
        description: row.get("description")?,
        price: price(row)?,
        stock_quantity: row.get("stock_quantity")?,
        flower_type: row.word("flower_type")?,
        image_url: row.get("image_url")?,
        version: row.get("version")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(super) fn price(row: &Row) -> Result<Money, StoreError> {
    Money::rub(row.get("price_minor")?).map_err(|error| StoreError::Mistake(error.to_string()))
}

/// A page from rows that all say the total; one without an id stands for a page that is empty.
pub(super) fn page_of<T>(
    page: PageQuery,
    rows: &[Row],
    read: fn(&Row) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    let total = rows.first().map_or(Ok(0), |row| row.get("total"))?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        if row.get::<Option<Uuid>>("id")?.is_some() {
            items.push(read(row)?);
        }
    }
    Ok(Page::new(page, total, items))
}

/// What a change tells, as the rows of the outbox: one or none.
pub(super) fn messages(
    event: Option<impl Into<Event>>,
    at: Timestamp,
    trace: &Traceparent,
) -> Result<ParameterValue, StoreError> {
    let row = event.map(|event| OutboxRow::new(&event.into(), at, trace));
    jsonb(&row.transpose()?.as_slice())
}
