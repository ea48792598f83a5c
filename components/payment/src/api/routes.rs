//! The routes.

use super::shapes::{NewPayment, PaymentBody};
use crate::Payment;
use crate::application::{
    Orders, ProcessPaymentError, Processed, Provider, catch_up, handle_events, process_payment,
};
use crate::domain::PaymentStatus;
use crate::infrastructure::{Bounded, PostgresOrders, SimulatedProvider};
use contracts::{OrderId, PaymentId};
use http::{StatusCode, header};
use service::health::{self, Health};
use service::router::Answer;
use service::{FieldErrors, PageQuery, Problem, Request, Response, Router, events};

/// Everything that payment answers.
#[must_use]
pub fn router() -> Router<Payment> {
    Router::new()
        .post("/payments/process", process)
        .get("/payments/{id}", show)
        .get("/payments/order/{order_id}", list)
        .get("/health", healthy)
        .get("/health/live", live)
        .get("/payments/health", healthy)
        .get("/internal/payment/health", healthy)
        .post("/internal/payment/events", take_events)
}

async fn process(app: &'static Payment, mut request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let body: NewPayment = request.json().await?;
    let command = body.into_command(caller.scope(), request.trace.clone())?;
    let orders = PostgresOrders::new(&app.database);
    let processed = process_payment(&orders, &provider(app), command)
        .await
        .map_err(not_processed)?;
    Ok(match processed {
        Processed::Started(payment) => {
            let location = request.location(&format!("/payments/{}", payment.attempt().payment_id));
            let body = PaymentBody::from(payment);
            Response::json(StatusCode::CREATED, &body).with_header(header::LOCATION, &location)
        }
        Processed::Found(payment) => Response::json(StatusCode::OK, &PaymentBody::from(payment)),
    })
}

fn not_processed(error: ProcessPaymentError) -> Problem {
    match error {
        ProcessPaymentError::Store(error) => error.into(),
        ProcessPaymentError::UnknownOrder => Problem::not_found("order"),
        ProcessPaymentError::Cancelled(_) => {
            Problem::conflict("order-cancelled", "The order was cancelled: nobody pays for it.")
        }
    }
}

async fn show(app: &'static Payment, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let id: PaymentId = request.id("id", "payment")?;
    let orders = PostgresOrders::new(&app.database);
    let mut payment = orders.find(id, caller.scope()).await?;
    if let Some(found) = payment.as_ref().filter(|payment| is_processing(payment)) {
        let order_id = found.attempt().order_id;
        catch_up(&orders, &provider(app), order_id, &request.trace).await?;
        payment = orders.find(id, caller.scope()).await?;
    }
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
    let orders = PostgresOrders::new(&app.database);
    let mut payments = orders.list(order_id, caller.scope(), page).await?;
    if payments
        .as_ref()
        .is_some_and(|page| page.items.iter().any(is_processing))
    {
        catch_up(&orders, &provider(app), order_id, &request.trace).await?;
        payments = orders.list(order_id, caller.scope(), page).await?;
    }
    let payments = payments.ok_or_else(|| Problem::not_found("order"))?;
    Ok(Response::json(StatusCode::OK, &payments.map(PaymentBody::from)))
}

fn is_processing(payment: &crate::domain::Payment) -> bool {
    payment.state().status() == PaymentStatus::Processing
}

fn provider(app: &'static Payment) -> impl Provider {
    Bounded(SimulatedProvider::new(&app.provider_database))
}

async fn take_events(app: &'static Payment, request: Request) -> Answer {
    let orders = PostgresOrders::new(&app.database);
    let provider = provider(app);
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
