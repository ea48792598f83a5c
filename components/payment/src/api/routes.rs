//! The routes.

use super::shapes::PaymentBody;
use crate::Payment;
use crate::application::{Orders, handle_events};
use crate::infrastructure::{Bounded, PostgresOrders, SimulatedProvider};
use contracts::{OrderId, PaymentId};
use http::StatusCode;
use service::health::{self, Health};
use service::router::Answer;
use service::{FieldErrors, PageQuery, Problem, Request, Response, Router, events};

/// Everything that payment answers.
#[must_use]
pub fn router() -> Router<Payment> {
    Router::new()
        .get("/payments/{id}", show)
        .get("/payments/order/{order_id}", list)
        .get("/health", healthy)
        .get("/health/live", live)
        .get("/payments/health", healthy)
        .get("/internal/payment/health", healthy)
        .post("/internal/payment/events", take_events)
}

async fn show(app: &'static Payment, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let id: PaymentId = request.id("id", "payment")?;
    let payment = PostgresOrders::new(&app.database)
        .find(id, caller.scope())
        .await?;
    let payment = payment.ok_or_else(|| Problem::not_found("payment"))?;
    Ok(Response::json(StatusCode::OK, &PaymentBody::from(payment)))
}

async fn list(app: &'static Payment, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let query = request.query()?;
    let mut errors = FieldErrors::new();
    let page = PageQuery::read(&query, &mut errors);
    errors.finish(Some(()))?;
    let order_id: OrderId = request.id("order_id", "order")?;
    let payments = PostgresOrders::new(&app.database)
        .list(order_id, caller.scope(), page)
        .await?;
    let payments = payments.ok_or_else(|| Problem::not_found("order"))?;
    Ok(Response::json(StatusCode::OK, &payments.map(PaymentBody::from)))
}

async fn take_events(app: &'static Payment, request: Request) -> Answer {
    let orders = PostgresOrders::new(&app.database);
    let provider = Bounded(SimulatedProvider::new(&app.provider_database));
    events::take_batch(&app.events_key, request, async |batch| {
        handle_events(&orders, &provider, batch).await
    })
    .await
}

async fn healthy(app: &'static Payment, _: Request) -> Answer {
    Ok(Health::new("payment", [("postgres", app.database.check().await)]).into_response())
}

async fn live(_: &'static Payment, _: Request) -> Answer {
    Ok(health::live("payment"))
}
