//! `/catalog/categories`.

use super::routes::{changed, created, listed, require_admin, shown};
use super::shapes::{CategoryBody, CategoryPatchBody, NewCategoryBody, json};
use crate::Catalog;
use crate::application::{
    Categories, CategoryError, Listing, change_category, create_category, delete_category,
};
use crate::domain::{CategoryPatch, NewCategory};
use crate::infrastructure::PostgresCategories;
use contracts::CategoryId;
use http::StatusCode;
use service::conditional::etag;
use service::router::Answer;
use service::{FieldErrors, IfMatch, PageQuery, Problem, Request, Response};

const WHAT: &str = "category";

pub(super) async fn list(app: &'static Catalog, request: Request) -> Answer {
    let query = request.query()?;
    let mut errors = FieldErrors::new();
    let page = PageQuery::read(&query, &mut errors);
    errors.finish(Some(()))?;
    let categories = PostgresCategories::new(&app.database).list(page).await?;
    let listing = Listing::new(json(&categories.map(CategoryBody::from))?);
    listed(&request, &listing)
}

pub(super) async fn show(app: &'static Catalog, request: Request) -> Answer {
    let id: CategoryId = request.id("id", WHAT)?;
    let found = PostgresCategories::new(&app.database).find(id).await?;
    let category = found.ok_or_else(|| Problem::not_found(WHAT))?;
    let etag = etag(category.version);
    Ok(shown(&request, &etag, json(&CategoryBody::from(category))?))
}

pub(super) async fn create(app: &'static Catalog, mut request: Request) -> Answer {
    require_admin(app, &request)?;
    let body: NewCategoryBody = request.json().await?;
    let new = NewCategory::try_from(body)?;
    let categories = PostgresCategories::new(&app.database);
    let category = create_category(&categories, new).await.map_err(refused)?;
    let (path, version) = (format!("/catalog/categories/{}", category.id), category.version);
    Ok(created(&request, &path, version, &CategoryBody::from(category)))
}

pub(super) async fn change(app: &'static Catalog, mut request: Request) -> Answer {
    require_admin(app, &request)?;
    let body: CategoryPatchBody = request.json().await?;
    let patch = CategoryPatch::try_from(body)?;
    let id: CategoryId = request.id("id", WHAT)?;
    let expected = IfMatch::read(&request);
    let categories = PostgresCategories::new(&app.database);
    let category = change_category(&categories, id, &expected, &patch)
        .await
        .map_err(refused)?;
    Ok(changed(category.version, &CategoryBody::from(category)))
}

pub(super) async fn delete(app: &'static Catalog, request: Request) -> Answer {
    require_admin(app, &request)?;
    let id: CategoryId = request.id("id", WHAT)?;
    let expected = IfMatch::read(&request);
    let categories = PostgresCategories::new(&app.database);
    delete_category(&categories, id, &expected)
        .await
        .map_err(refused)?;
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

fn refused(error: CategoryError) -> Problem {
    match error {
        CategoryError::NotFound => Problem::not_found(WHAT),
        CategoryError::Stale => Problem::stale(),
        CategoryError::NameTaken => {
            Problem::conflict("category-name-taken", "Another category has this name.")
        }
        CategoryError::HasBouquets => {
            Problem::conflict("category-has-bouquets", "There are bouquets in this category.")
        }
        CategoryError::Store(error) => error.into(),
    }
}
