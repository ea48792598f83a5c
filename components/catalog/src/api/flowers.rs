//! `/catalog/flowers`.

use super::routes::{changed, created, listed, require_admin, shown};
use super::shapes::{FlowerBody, FlowerPatchBody, NewFlowerBody, json};
use crate::Catalog;
use crate::application::{
    FlowerError, FlowerFilter, change_flower, create_flower, delete_flower, list_flowers, show_flower,
};
use crate::domain::{Flower, FlowerPatch, NewFlower, Search, Stock};
use crate::infrastructure::PostgresFlowers;
use contracts::FlowerId;
use http::StatusCode;
use service::conditional::etag;
use service::router::Answer;
use service::{FieldErrors, IfMatch, PageQuery, Problem, Request, Response};

const WHAT: &str = "flower";

pub(super) async fn list(app: &'static Catalog, request: Request) -> Answer {
    let query = request.query()?;
    let mut errors = FieldErrors::new();
    let page = PageQuery::read(&query, &mut errors);
    let search = query.text("search", &mut errors);
    let search = search.filter(|text| !text.is_empty());
    let filter = FlowerFilter {
        search: search.and_then(|text| errors.check("search", Search::try_from(text.to_owned()))),
        flower_type: query.parse_as("flower_type", &mut errors),
    };
    errors.finish(Some(()))?;
    let flowers = PostgresFlowers::new(&app.database);
    let listing = list_flowers(&flowers, &app.cache, &filter, page, |flowers| {
        json(&flowers.map(FlowerBody::from))
    })
    .await?;
    listed(&request, &listing)
}

pub(super) async fn show(app: &'static Catalog, request: Request) -> Answer {
    let id: FlowerId = request.id("id", WHAT)?;
    let flowers = PostgresFlowers::new(&app.database);
    let render = |flower: Flower| json(&FlowerBody::from(flower));
    let found = show_flower(&flowers, &app.cache, id, render).await?;
    let flower = found.ok_or_else(|| Problem::not_found(WHAT))?;
    Ok(shown(&request, &etag(flower.version), flower.body))
}

pub(super) async fn create(app: &'static Catalog, mut request: Request) -> Answer {
    require_admin(app, &request)?;
    let body: NewFlowerBody = request.json().await?;
    let new = NewFlower::try_from(body)?;
    let flowers = PostgresFlowers::new(&app.database);
    let flower = create_flower(&flowers, &app.cache, new, &request.trace)
        .await
        .map_err(refused)?;
    let (path, version) = (format!("/catalog/flowers/{}", flower.id), flower.version);
    Ok(created(&request, &path, version, &FlowerBody::from(flower)))
}

pub(super) async fn change(app: &'static Catalog, mut request: Request) -> Answer {
    require_admin(app, &request)?;
    let body: FlowerPatchBody = request.json().await?;
    let patch = FlowerPatch::try_from(body)?;
    let id: FlowerId = request.id("id", WHAT)?;
    let expected = IfMatch::read(&request);
    let flowers = PostgresFlowers::new(&app.database);
    let flower = change_flower(&flowers, &app.cache, id, &expected, &patch, &request.trace)
        .await
        .map_err(refused)?;
    Ok(changed(flower.version, &FlowerBody::from(flower)))
}

pub(super) async fn delete(app: &'static Catalog, request: Request) -> Answer {
    require_admin(app, &request)?;
    let id: FlowerId = request.id("id", WHAT)?;
    let expected = IfMatch::read(&request);
    let flowers = PostgresFlowers::new(&app.database);
    delete_flower(&flowers, &app.cache, id, &expected, &request.trace)
        .await
        .map_err(refused)?;
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

fn refused(error: FlowerError) -> Problem {
    match error {
        FlowerError::NotFound => Problem::not_found(WHAT),
        FlowerError::Stale => Problem::stale(),
        FlowerError::VersionNeeded => Problem::precondition_required(
            "stock_quantity needs an If-Match with the entity tag that you have seen; stock_delta does not.",
        ),
        FlowerError::StockOutOfRange(_) => Problem::conflict(
            "stock-out-of-range",
            format!("The stock would not be from 0 to {}.", Stock::MAX),
        ),
        FlowerError::InBouquet => Problem::conflict("flower-in-bouquet", "A bouquet holds this flower."),
        FlowerError::Store(error) => error.into(),
    }
}
