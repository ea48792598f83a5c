//! The routes.

use super::shapes::{Failure, NewShipment, Nothing, ShipmentBody};
use crate::Delivery;
use crate::application::{
    CreateShipmentError, EndShipmentError, Shipments, create_shipment, end_shipment, handle_events,
};
use crate::domain::{AlreadyShipped, Ending};
use crate::infrastructure::PostgresShipments;
use contracts::{OrderId, ShipmentId, UserId};
use http::{StatusCode, header};
use service::health::{self, Health};
use service::router::Answer;
use service::{Caller, FieldErrors, Fixed, PageQuery, Problem, Request, Response, Role, Router, events};

const WHAT: &str = "shipment";

/// Who delivers, and sees every shipment.
const STAFF: [Role; 2] = [Role::Courier, Role::Admin];

/// What all this takes and answers; a test holds it against the code.
static DESCRIPTION: Fixed = Fixed::new("application/json", include_bytes!("../../openapi.json"));

/// Everything that delivery answers.
#[must_use]
pub fn router() -> Router<Delivery> {
    Router::new()
        .post("/delivery/create", create)
        .get("/delivery", list)
        .get("/delivery/{id}", show)
        .get("/delivery/order/{order_id}", show_of_order)
        .post("/delivery/{id}/deliver", hand_over)
        .post("/delivery/{id}/fail", fail)
        .get("/health", healthy)
        .get("/health/live", live)
        .get("/delivery/health", healthy)
        .get("/delivery/openapi.json", described)
        .get("/internal/delivery/health", healthy)
        .post("/internal/delivery/events", take_events)
}

async fn create(app: &'static Delivery, mut request: Request) -> Answer {
    app.bearer.caller(&request)?.require(&[Role::Admin])?;
    let body: NewShipment = request.json().await?;
    let order_id = body.into_order_id()?;
    let shipments = PostgresShipments::new(&app.database);
    let shipment = create_shipment(&shipments, app.terms.arrival, order_id, &request.trace)
        .await
        .map_err(not_created)?;
    let location = request.location(&format!("/delivery/{}", shipment.id));
    let body = ShipmentBody::from(shipment);
    Ok(Response::json(StatusCode::CREATED, &body).with_header(header::LOCATION, &location))
}

fn not_created(error: CreateShipmentError) -> Problem {
    match error {
        CreateShipmentError::Store(error) => error.into(),
        CreateShipmentError::UnknownOrder => Problem::not_found("order"),
        CreateShipmentError::AlreadyShipped(AlreadyShipped(id)) => {
            Problem::conflict("already-shipped", "The order has a shipment; see shipment_id.")
                .with_member("shipment_id", serde_json::json!(id))
        }
    }
}

async fn list(app: &'static Delivery, request: Request) -> Answer {
    app.bearer.caller(&request)?.require(&STAFF)?;
    let query = request.query()?;
    let mut errors = FieldErrors::new();
    let page = PageQuery::read(&query, &mut errors);
    let status = query.parse_as("status", &mut errors);
    errors.finish(Some(()))?;
    let shipments = PostgresShipments::new(&app.database).list(status, page).await?;
    Ok(Response::json(StatusCode::OK, &shipments.map(ShipmentBody::from)))
}

async fn show(app: &'static Delivery, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let id: ShipmentId = request.id("id", WHAT)?;
    let shipment = PostgresShipments::new(&app.database)
        .find(id, scope(caller))
        .await?;
    let shipment = shipment.ok_or_else(|| Problem::not_found(WHAT))?;
    Ok(Response::json(StatusCode::OK, &ShipmentBody::from(shipment)))
}

async fn show_of_order(app: &'static Delivery, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let order_id: OrderId = request.id("order_id", WHAT)?;
    let shipment = PostgresShipments::new(&app.database)
        .find_of_order(order_id, scope(caller))
        .await?;
    let shipment = shipment.ok_or_else(|| Problem::not_found(WHAT))?;
    Ok(Response::json(StatusCode::OK, &ShipmentBody::from(shipment)))
}

async fn hand_over(app: &'static Delivery, mut request: Request) -> Answer {
    app.bearer.caller(&request)?.require(&STAFF)?;
    let Nothing {} = request.optional_json().await?;
    end(app, &request, Ending::Delivered).await
}

async fn fail(app: &'static Delivery, mut request: Request) -> Answer {
    app.bearer.caller(&request)?.require(&STAFF)?;
    let body: Failure = request.json().await?;
    end(app, &request, Ending::Failed(body.into_reason()?)).await
}

async fn end(app: &'static Delivery, request: &Request, ending: Ending) -> Answer {
    let id: ShipmentId = request.id("id", WHAT)?;
    let shipments = PostgresShipments::new(&app.database);
    let shipment = end_shipment(&shipments, id, ending, &request.trace)
        .await
        .map_err(not_ended)?;
    Ok(Response::json(StatusCode::OK, &ShipmentBody::from(shipment)))
}

fn not_ended(error: EndShipmentError) -> Problem {
    match error {
        EndShipmentError::Store(error) => error.into(),
        EndShipmentError::UnknownShipment => Problem::not_found(WHAT),
        EndShipmentError::NotUnderWay(error) => {
            Problem::conflict("shipment-ended", format!("It has come to another end: {error}."))
        }
    }
}

/// Whose shipments this caller sees: couriers see everyone's, as admins do.
fn scope(caller: Caller) -> Option<UserId> {
    (!STAFF.contains(&caller.role)).then_some(caller.user_id)
}

async fn take_events(app: &'static Delivery, request: Request) -> Answer {
    let shipments = PostgresShipments::new(&app.database);
    events::take_batch(&app.events_key, request, async |batch| {
        handle_events(&shipments, app.terms, batch).await
    })
    .await
}

async fn healthy(app: &'static Delivery, _: Request) -> Answer {
    Ok(Health::new("delivery", [("postgres", app.database.check().await)]).into_response())
}

async fn live(_: &'static Delivery, _: Request) -> Answer {
    Ok(health::live("delivery"))
}

async fn described(_: &'static Delivery, request: Request) -> Answer {
    DESCRIPTION.answer(&request)
}
