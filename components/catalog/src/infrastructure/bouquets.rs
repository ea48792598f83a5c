//! Bouquets in Postgres.

use super::flowers::{messages, page_of, price};
use crate::application::{BouquetError, BouquetFilter, Bouquets, KnownParts};
use crate::domain::{Bouquet, BouquetChange, BouquetItem, Quantity};
use contracts::{BouquetId, CategoryId, FlowerId};
use serde::{Deserialize, Serialize};
use service::database::{Database, Row, Session, jsonb, uuids};
use service::trace::Traceparent;
use service::{Page, PageQuery, StoreError};
use uuid::Uuid;

/// One request's view of the bouquets.
pub struct PostgresBouquets<'a> {
    session: Session<'a>,
}

impl<'a> PostgresBouquets<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }
}

impl Bouquets for PostgresBouquets<'_> {
    async fn find(&self, id: BouquetId) -> Result<Option<Bouquet>, StoreError> {
        let statement = include_str!("sql/find_bouquet.sql");
        let row = self
            .session
            .query_one(statement, vec![id.as_uuid().into()])
            .await?;
        row.as_ref().map(bouquet).transpose()
    }

    async fn list(&self, filter: BouquetFilter, page: PageQuery) -> Result<Page<Bouquet>, StoreError> {
        let parameters = vec![
            filter.category_id.map(CategoryId::as_uuid).into(),
            page.skip.into(),
            page.limit.into(),
        ];
        let rows = self
            .session
            .query(include_str!("sql/list_bouquets.sql"), parameters)
            .await?;
        page_of(page, &rows, bouquet)
    }

    async fn known_parts(
        &self,
        flowers: &[FlowerId],
        category: CategoryId,
    ) -> Result<KnownParts, StoreError> {
        let parameters = vec![
            uuids(flowers.iter().map(|id| id.as_uuid())),
            category.as_uuid().into(),
        ];
        let row = self
            .session
            .query_one(include_str!("sql/known_parts.sql"), parameters)
            .await?;
        row.map_or(Ok(KnownParts::default()), |row| {
            Ok(KnownParts {
                flowers: row.json("flowers")?,
                category: row.get("category")?,
            })
        })
    }

    async fn insert(&self, change: &BouquetChange, trace: &Traceparent) -> Result<(), BouquetError> {
        let bouquet = &change.bouquet;
        let parameters = vec![
            bouquet.id.as_uuid().into(),
            bouquet.name.clone().into(),
            bouquet.description.clone().into(),
            bouquet.price.minor().into(),
            bouquet.price.currency().code().to_owned().into(),
            bouquet.category_id.as_uuid().into(),
            bouquet.image_url.clone().into(),
            bouquet.version.into(),
            bouquet.created_at.naive().into(),
            jsonb(&written(&bouquet.items))?,
            messages(change.event.clone(), bouquet.updated_at, trace)?,
        ];
        self.session
            .query(include_str!("sql/insert_bouquet.sql"), parameters)
            .await
            .map_err(refused)?;
        Ok(())
    }

    async fn store(&self, change: &BouquetChange, trace: &Traceparent) -> Result<bool, BouquetError> {
        let bouquet = &change.bouquet;
        let parameters = vec![
            bouquet.id.as_uuid().into(),
            change.decided_on().into(),
            bouquet.name.clone().into(),
            bouquet.description.clone().into(),
            bouquet.price.minor().into(),
            bouquet.price.currency().code().to_owned().into(),
            bouquet.category_id.as_uuid().into(),
            bouquet.image_url.clone().into(),
            bouquet.version.into(),
            change.deleted.into(),
            bouquet.updated_at.naive().into(),
            jsonb(&written(&bouquet.items))?,
            messages(change.event.clone(), bouquet.updated_at, trace)?,
        ];
        let row = self
            .session
            .query_one(include_str!("sql/update_bouquet.sql"), parameters)
            .await
            .map_err(refused)?;
        Ok(row.is_some())
    }
}

fn refused(error: StoreError) -> BouquetError {
    match error {
        StoreError::Constraint(name) if ["bouquet_items_flower", "bouquets_category"].contains(&&*name) => {
            BouquetError::PartDeleted
        }
        error => error.into(),
    }
}

fn bouquet(row: &Row) -> Result<Bouquet, StoreError> {
    let items: Vec<ReadItem> = row.json("items")?;
    Ok(Bouquet {
        id: row.get::<Uuid>("id")?.into(),
        name: row.get("name")?,
        description: row.get("description")?,
        price: price(row)?,
        category_id: row.get::<Uuid>("category_id")?.into(),
        items: items
            .into_iter()
            .map(ReadItem::into_item)
            .collect::<Result<_, _>>()?,
        image_url: row.get("image_url")?,
        version: row.get("version")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

#[derive(Deserialize)]
struct ReadItem {
    flower_id: FlowerId,
    quantity: i64,
}

impl ReadItem {
    fn into_item(self) -> Result<BouquetItem, StoreError> {
        let quantity =
            Quantity::try_from(self.quantity).map_err(|error| StoreError::Mistake(error.to_string()))?;
        Ok(BouquetItem {
            flower_id: self.flower_id,
            quantity,
        })
    }
}

#[derive(Serialize)]
struct WrittenItem {
    flower_id: FlowerId,
    position: usize,
    quantity: i32,
}

fn written(items: &[BouquetItem]) -> Vec<WrittenItem> {
    let item = |(position, item): (usize, &BouquetItem)| WrittenItem {
        flower_id: item.flower_id,
        position,
        quantity: item.quantity.get(),
    };
    items.iter().enumerate().map(item).collect()
}
