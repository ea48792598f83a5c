//! The routes, and what those of all three things share.

use super::{bouquets, categories, flowers};
use crate::Catalog;
use crate::application::{Listing, handle_events};
use crate::infrastructure::PostgresReservations;
use bytes::Bytes;
use futures::future::join;
use http::{Method, StatusCode, header};
use serde::Serialize;
use service::conditional::{etag, etag_in_gzip, is_known};
use service::encoding::takes_gzip;
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

/// The same of a list, in gzip for who takes that. Each form has a tag of its own.
pub(super) fn listed(request: &Request, listing: &Listing) -> Answer {
    let is_gzipped = listing.is_worth_compressing() && takes_gzip(request);
    let answer = if is_gzipped {
        let answer = shown(request, &etag_in_gzip(&listing.etag), listing.in_gzip()?);
        match answer.status() {
            StatusCode::NOT_MODIFIED => answer,
            _ => answer.with_header(header::CONTENT_ENCODING, "gzip"),
        }
    } else {
        shown(request, &listing.etag, listing.body.clone())
    };
    Ok(answer.with_header(header::VARY, "accept-encoding"))
}

/// 200 with what was asked for, or 304 if the client has it already. Everybody sees the same, so any cache may keep it;
/// but once a write is answered nobody may see what was before, so it asks each time whether it still holds.
pub(super) fn shown(request: &Request, etag: &str, body: Bytes) -> Response {
    let response = if is_known(request, etag) {
        Response::empty(StatusCode::NOT_MODIFIED)
    } else {
        Response::bytes(StatusCode::OK, "application/json", body)
    };
    response
        .with_header(header::ETAG, etag)
        .with_header(header::CACHE_CONTROL, "public, no-cache")
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
