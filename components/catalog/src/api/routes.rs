//! The routes, and what those of all three things share.

use super::{bouquets, categories, flowers};
use crate::Catalog;
use crate::application::handle_events;
use crate::infrastructure::PostgresReservations;
use futures::future::join;
use http::{Method, StatusCode, header};
use serde::Serialize;
use service::conditional::{etag, is_known};
use service::health::{self, Health};
use service::router::Answer;
use service::{Fixed, Problem, Request, Response, Role, Router, events};

/// What all this takes and answers; a test holds it against the code.
static DESCRIPTION: Fixed = Fixed::new("application/json", include_bytes!("../../openapi.json"));

/// Everything that the catalog answers.
#[must_use]
pub fn router() -> Router<Catalog> {
    Router::new()
        .get("/catalog/flowers", flowers::list)
        .post("/catalog/flowers", flowers::create)
        .get("/catalog/flowers/{id}", flowers::show)
        .on(Method::PATCH, "/catalog/flowers/{id}", flowers::change)
        .on(Method::DELETE, "/catalog/flowers/{id}", flowers::delete)
        .get("/catalog/bouquets", bouquets::list)
        .post("/catalog/bouquets", bouquets::create)
        .get("/catalog/bouquets/{id}", bouquets::show)
        .on(Method::PATCH, "/catalog/bouquets/{id}", bouquets::change)
        .on(Method::DELETE, "/catalog/bouquets/{id}", bouquets::delete)
        .get("/catalog/categories", categories::list)
        .post("/catalog/categories", categories::create)
        .get("/catalog/categories/{id}", categories::show)
        .on(Method::PATCH, "/catalog/categories/{id}", categories::change)
        .on(Method::DELETE, "/catalog/categories/{id}", categories::delete)
        .get("/health", healthy)
        .get("/health/live", live)
        .get("/catalog/health", healthy)
        .get("/catalog/openapi.json", described)
        .get("/internal/catalog/health", healthy)
        .post("/internal/catalog/events", take_events)
}

/// Only an admin changes the catalog.
pub(super) fn require_admin(app: &Catalog, request: &Request) -> Result<(), Problem> {
    app.bearer.caller(request)?.require(&[Role::Admin])?;
    Ok(())
}

/// 201 with what was created and where it is.
pub(super) fn created(request: &Request, path: &str, version: i64, body: &impl Serialize) -> Response {
    Response::json(StatusCode::CREATED, body)
        .with_header(header::LOCATION, &request.location(path))
        .with_header(header::ETAG, &etag(version))
}

/// 200 with what was changed.
pub(super) fn changed(version: i64, body: &impl Serialize) -> Response {
    Response::json(StatusCode::OK, body).with_header(header::ETAG, &etag(version))
}

/// 200 with what was asked for, or 304 if the client has it already.
pub(super) fn shown(request: &Request, version: i64, response: impl FnOnce() -> Response) -> Response {
    let response = if is_known(request, version) {
        Response::empty(StatusCode::NOT_MODIFIED)
    } else {
        response()
    };
    response.with_header(header::ETAG, &etag(version))
}

async fn take_events(app: &'static Catalog, request: Request) -> Answer {
    let reservations = PostgresReservations::new(&app.database);
    events::take_batch(&app.events_key, request, async |batch| {
        handle_events(&reservations, &app.cache, batch).await
    })
    .await
}

async fn healthy(app: &'static Catalog, _: Request) -> Answer {
    // Without Redis everything still works, only slower.
    let (postgres, redis) = join(app.database.check(), app.cache.check()).await;
    Ok(Health::new("catalog", [("postgres", postgres), ("redis", redis)]).into_response())
}

async fn live(_: &'static Catalog, _: Request) -> Answer {
    Ok(health::live("catalog"))
}

async fn described(_: &'static Catalog, request: Request) -> Answer {
    DESCRIPTION.answer(&request)
}
