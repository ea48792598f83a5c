//! Categories in Postgres.

use super::flowers::page_of;
use crate::application::{Categories, CategoryError};
use crate::domain::Category;
use contracts::CategoryId;
use service::database::{Database, Row, Session};
use service::{Page, PageQuery, StoreError};
use uuid::Uuid;

/// One request's view of the categories.
pub struct PostgresCategories<'a> {
    session: Session<'a>,
}

impl<'a> PostgresCategories<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }
}

impl Categories for PostgresCategories<'_> {
    async fn find(&self, id: CategoryId) -> Result<Option<Category>, StoreError> {
        let statement = include_str!("sql/find_category.sql");
        let row = self
            .session
            .query_one(statement, vec![id.as_uuid().into()])
            .await?;
        row.as_ref().map(category).transpose()
    }

    async fn list(&self, page: PageQuery) -> Result<Page<Category>, StoreError> {
        let parameters = vec![page.skip.into(), page.limit.into()];
        let rows = self
            .session
            .query(include_str!("sql/list_categories.sql"), parameters)
            .await?;
        page_of(page, &rows, category)
    }

    async fn insert(&self, category: &Category) -> Result<(), CategoryError> {
        let parameters = vec![
            category.id.as_uuid().into(),
            category.name.clone().into(),
            category.description.clone().into(),
            category.version.into(),
            category.created_at.naive().into(),
        ];
        self.session
            .query(include_str!("sql/insert_category.sql"), parameters)
            .await
            .map_err(refused)?;
        Ok(())
    }

    async fn store(&self, category: &Category) -> Result<bool, CategoryError> {
        let parameters = vec![
            category.id.as_uuid().into(),
            (category.version - 1).into(),
            category.name.clone().into(),
            category.description.clone().into(),
            category.version.into(),
        ];
        let row = self
            .session
            .query_one(include_str!("sql/update_category.sql"), parameters)
            .await
            .map_err(refused)?;
        Ok(row.is_some())
    }

    async fn delete(&self, category: &Category) -> Result<bool, CategoryError> {
        let parameters = vec![category.id.as_uuid().into(), category.version.into()];
        let row = self
            .session
            .query_one(include_str!("sql/delete_category.sql"), parameters)
            .await
            .map_err(refused)?;
        Ok(row.is_some())
    }
}

fn refused(error: StoreError) -> CategoryError {
    match error {
        StoreError::Constraint(name) if name == "categories_name" => CategoryError::NameTaken,
        StoreError::Constraint(name) if name == "bouquets_category" => CategoryError::HasBouquets,
        error => error.into(),
    }
}

fn category(row: &Row) -> Result<Category, StoreError> {
    Ok(Category {
        id: row.get::<Uuid>("id")?.into(),
        name: row.get("name")?,
        description: row.get("description")?,
        version: row.get("version")?,
        created_at: row.time("created_at")?,
    })
}
