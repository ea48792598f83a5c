//! The routes.

use super::shapes::{HistoryBody, NewOrder, Nothing, OrderBody};
use crate::Ordering;
use crate::application::{
    CancelOrder, CancelOrderError, OrderFilter, Orders, Outcome, PlaceOrderError, cancel_order,
    handle_events, place_order,
};
use crate::domain::{CartError, Order};
use crate::infrastructure::PostgresOrders;
use contracts::OrderId;
use http::{StatusCode, header};
use service::health::{self, Health};
use service::idempotency::{Done, IdempotencyKey, KeptAnswer, once};
use service::router::Answer;
use service::{FieldErrors, Fixed, PageQuery, Problem, Request, Response, Router, events, json};

const WHAT: &str = "order";

/// What all this takes and answers; a test holds it against the code.
static DESCRIPTION: Fixed = Fixed::new("application/json", include_bytes!("../../openapi.json"));

/// Everything that ordering answers.
#[must_use]
pub fn router() -> Router<Ordering> {
    Router::new()
        .post("/orders", place)
        .get("/orders", list)
        .get("/orders/{id}", show)
        .post("/orders/{id}/cancel", cancel)
        .get("/orders/{id}/history", history)
        .get("/health", healthy)
        .get("/health/live", live)
        .get("/orders/health", healthy)
        .get("/orders/openapi.json", described)
        .get("/internal/ordering/health", healthy)
        .post("/internal/ordering/events", take_events)
}

async fn place(app: &'static Ordering, mut request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let bytes = request.json_bytes().await?;
    let key = IdempotencyKey::read(&request, caller.user_id, &bytes)?;
    let orders = PostgresOrders::new(&app.database);
    let answer = |order: &Order| {
        let location = request.location(&format!("/orders/{}", order.id));
        Response::json(StatusCode::CREATED, &OrderBody::from(order)).with_header(header::LOCATION, &location)
    };
    let work = async {
        let body: NewOrder = json::from_slice(&bytes)?;
        let command = body.into_command(caller.user_id, key.clone(), request.trace.clone())?;
        let kept = |order: &Order| KeptAnswer::of(&answer(order));
        let outcome = place_order(&orders, command, app.payment_deadline, kept).await;
        Ok(done(outcome.map_err(refused)?, answer))
    };
    once(&orders, key.as_ref(), &request.instance(), work).await
}

/// What the client is told of what its request came to.
fn done(outcome: Outcome, answer: impl Fn(&Order) -> Response) -> Done {
    match outcome {
        Outcome::Stored(order) => Done::Kept(answer(&order)),
        Outcome::Unchanged(order) => Done::Unchanged(answer(&order)),
        Outcome::Known(known) => Done::Known(known),
    }
}

fn refused(error: PlaceOrderError) -> Problem {
    match error {
        PlaceOrderError::Store(error) => error.into(),
        PlaceOrderError::Cart(error @ CartError::UnknownProduct { line }) => {
            Problem::invalid_field(format!("items[{line}]"), error.to_string())
        }
        PlaceOrderError::Cart(CartError::OtherTotal(total)) => Problem::conflict(
            "other-total",
            "The order costs something else than expected; see total_amount.",
        )
        .with_member("total_amount", serde_json::json!(total)),
        PlaceOrderError::Cart(error) => Problem::invalid_field("items", error.to_string()),
    }
}

async fn list(app: &'static Ordering, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let query = request.query()?;
    let mut errors = FieldErrors::new();
    let page = PageQuery::read(&query, &mut errors);
    // Read for everybody, so that what is no id is 422 to all; only an admin's is heeded.
    let asked_for = query.parse_as("user_id", &mut errors);
    let filter = OrderFilter {
        user_id: caller.scope().or(asked_for),
        status: query.parse_as("status", &mut errors),
        created_from: query.parse_as("created_from", &mut errors),
        created_to: query.parse_as("created_to", &mut errors),
    };
    errors.finish(Some(()))?;
    let orders = PostgresOrders::new(&app.database).list(filter, page).await?;
    Ok(Response::json(
        StatusCode::OK,
        &orders.map(|order| OrderBody::from(&order)),
    ))
}

async fn show(app: &'static Ordering, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let id: OrderId = request.id("id", WHAT)?;
    let order = PostgresOrders::new(&app.database)
        .find(id, caller.scope())
        .await?;
    let order = order.ok_or_else(|| Problem::not_found(WHAT))?;
    Ok(shown(&order))
}

fn shown(order: &Order) -> Response {
    Response::json(StatusCode::OK, &OrderBody::from(order))
}

async fn cancel(app: &'static Ordering, mut request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let bytes = request.json_bytes().await?;
    let key = IdempotencyKey::read(&request, caller.user_id, &bytes)?;
    let orders = PostgresOrders::new(&app.database);
    let work = async {
        let Nothing {} = json::optional_from_slice(&bytes)?;
        let command = CancelOrder {
            order_id: request.id("id", WHAT)?,
            owner: caller.scope(),
            key: key.clone(),
            trace: request.trace.clone(),
        };
        let outcome = cancel_order(&orders, &command, |order| KeptAnswer::of(&shown(order))).await;
        Ok(done(outcome.map_err(not_cancelled)?, shown))
    };
    once(&orders, key.as_ref(), &request.instance(), work).await
}

fn not_cancelled(error: CancelOrderError) -> Problem {
    match error {
        CancelOrderError::Unknown => Problem::not_found(WHAT),
        CancelOrderError::HandedOver => {
            Problem::conflict("order-handed-over", "The order is handed over to delivery.")
        }
        CancelOrderError::Store(error) => error.into(),
    }
}

async fn history(app: &'static Ordering, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let id: OrderId = request.id("id", WHAT)?;
    let items = PostgresOrders::new(&app.database)
        .history(id, caller.scope())
        .await?;
    let items = items.ok_or_else(|| Problem::not_found(WHAT))?;
    Ok(Response::json(StatusCode::OK, &HistoryBody::from(items)))
}

async fn take_events(app: &'static Ordering, request: Request) -> Answer {
    let orders = PostgresOrders::new(&app.database);
    events::take_batch(&app.events_key, request, async |batch| {
        handle_events(&orders, batch).await
    })
    .await
}

async fn healthy(app: &'static Ordering, _: Request) -> Answer {
    Ok(Health::new("ordering", [("postgres", app.database.check().await)]).into_response())
}

async fn live(_: &'static Ordering, _: Request) -> Answer {
    Ok(health::live("ordering"))
}

async fn described(_: &'static Ordering, request: Request) -> Answer {
    DESCRIPTION.answer(&request)
}
