//! `/catalog/bouquets`.

use super::routes::{changed, created, listed, require_admin, shown};
use super::shapes::{BouquetBody, BouquetPatchBody, NewBouquetBody, json};
use crate::Catalog;
use crate::application::{
    BouquetError, BouquetFilter, Bouquets, Listing, change_bouquet, create_bouquet, delete_bouquet,
};
use crate::domain::{BouquetPatch, NewBouquet};
use crate::infrastructure::PostgresBouquets;
use contracts::BouquetId;
use http::StatusCode;
use service::conditional::etag;
use service::router::Answer;
use service::{FieldErrors, IfMatch, PageQuery, Problem, Request, Response};

const WHAT: &str = "bouquet";

pub(super) async fn list(app: &'static Catalog, request: Request) -> Answer {
    let query = request.query()?;
    let mut errors = FieldErrors::new();
    let page = PageQuery::read(&query, &mut errors);
    let filter = BouquetFilter {
        category_id: query.parse_as("category_id", &mut errors),
    };
    errors.finish(Some(()))?;
    let bouquets = PostgresBouquets::new(&app.database).list(filter, page).await?;
    let listing = Listing::new(json(&bouquets.map(BouquetBody::from))?);
    listed(&request, &listing)
}

pub(super) async fn show(app: &'static Catalog, request: Request) -> Answer {
    let id: BouquetId = request.id("id", WHAT)?;
    let found = PostgresBouquets::new(&app.database).find(id).await?;
    let bouquet = found.ok_or_else(|| Problem::not_found(WHAT))?;
    let etag = etag(bouquet.version);
    Ok(shown(&request, &etag, json(&BouquetBody::from(bouquet))?))
}

pub(super) async fn create(app: &'static Catalog, mut request: Request) -> Answer {
    require_admin(app, &request)?;
    let body: NewBouquetBody = request.json().await?;
    let new = NewBouquet::try_from(body)?;
    let bouquets = PostgresBouquets::new(&app.database);
    let bouquet = create_bouquet(&bouquets, new, &request.trace)
        .await
        .map_err(refused)?;
    let (path, version) = (format!("/catalog/bouquets/{}", bouquet.id), bouquet.version);
    Ok(created(&request, &path, version, &BouquetBody::from(bouquet)))
}

pub(super) async fn change(app: &'static Catalog, mut request: Request) -> Answer {
    require_admin(app, &request)?;
    let body: BouquetPatchBody = request.json().await?;
    let patch = BouquetPatch::try_from(body)?;
    let id: BouquetId = request.id("id", WHAT)?;
    let expected = IfMatch::read(&request);
    let bouquets = PostgresBouquets::new(&app.database);
    let bouquet = change_bouquet(&bouquets, id, &expected, &patch, &request.trace)
        .await
        .map_err(refused)?;
    Ok(changed(bouquet.version, &BouquetBody::from(bouquet)))
}

pub(super) async fn delete(app: &'static Catalog, request: Request) -> Answer {
    require_admin(app, &request)?;
    let id: BouquetId = request.id("id", WHAT)?;
    let expected = IfMatch::read(&request);
    let bouquets = PostgresBouquets::new(&app.database);
    delete_bouquet(&bouquets, id, &expected, &request.trace)
        .await
        .map_err(refused)?;
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

fn refused(error: BouquetError) -> Problem {
    match error {
        BouquetError::NotFound => Problem::not_found(WHAT),
        BouquetError::Stale => Problem::stale(),
        BouquetError::UnknownParts { items, category } => {
            let mut errors = FieldErrors::new();
            for position in items {
                let field = format!("items[{position}].flower_id");
                errors.add(field, "there is no such flower, or no longer");
            }
            if category {
                errors.add("category_id", "there is no such category, or no longer");
            }
            errors.into_problem()
        }
        BouquetError::PartDeleted => {
            Problem::invalid_field("", "one of the flowers or the category was deleted a moment ago")
        }
        BouquetError::Store(error) => error.into(),
    }
}
