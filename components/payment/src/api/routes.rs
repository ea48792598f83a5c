//! The routes.

use super::shapes::{NewPayment, PaymentBody};
use crate::Payment;
use crate::application::{Orders, ProcessPaymentError, Processed, Provider, handle_events, process_payment};
use crate::domain::{NotPayable, Payment as Paid};
use crate::infrastructure::{Bounded, ComposedProvider, PostgresOrders};
use contracts::{OrderId, PaymentId};
use http::{StatusCode, header};
use service::health::{self, Health};
use service::idempotency::{self, Done, IdempotencyKey, KeptAnswer};
use service::router::Answer;
use service::{FieldErrors, Fixed, PageQuery, Problem, Request, Response, Router, events, json};

/// What all this takes and answers; a test holds it against the code.
static DESCRIPTION: Fixed = Fixed::new("application/json", include_bytes!("../../openapi.json"));

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
        .get("/payments/openapi.json", described)
        .get("/internal/payment/health", healthy)
        .post("/internal/payment/events", take_events)
}

async fn process(app: &'static Payment, mut request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let bytes = request.json_bytes().await?;
    let key = IdempotencyKey::read(&request, caller.user_id, &bytes)?;
    let orders = PostgresOrders::new(&app.database);
    let work = async {
        let body: NewPayment = json::from_slice(&bytes)?;
        let command = body.into_command(caller.scope(), key.clone(), request.trace.clone())?;
        let kept = |payment: &Paid| KeptAnswer::of(&started(&request, payment));
        let processed = process_payment(&orders, &provider(app), command, kept)
            .await
            .map_err(not_processed)?;
        Ok(match processed {
            Processed::Started(payment) => Done::Kept(started(&request, &payment)),
            Processed::Found(payment) => {
                Done::Unchanged(Response::json(StatusCode::OK, &PaymentBody::from(payment)))
            }
            Processed::Known(known) => Done::Known(known),
        })
    };
    idempotency::once(&orders, key.as_ref(), &request.instance(), work).await
}

/// The answer to a request that started this payment.
fn started(request: &Request, payment: &Paid) -> Response {
    let location = request.location(&format!("/payments/{}", payment.attempt().payment_id));
    let body = PaymentBody::from(payment.clone());
    Response::json(StatusCode::CREATED, &body).with_header(header::LOCATION, &location)
}

fn not_processed(error: ProcessPaymentError) -> Problem {
    match error {
        ProcessPaymentError::Store(error) => error.into(),
        ProcessPaymentError::UnknownOrder => Problem::not_found("order"),
        ProcessPaymentError::NotPayable(NotPayable::Cancelled) => {
            Problem::conflict("order-cancelled", "The order was cancelled: nobody pays for it.")
        }
        ProcessPaymentError::NotPayable(NotPayable::Overdue) => Problem::conflict(
            "payment-deadline",
            "The order's payment deadline has passed: nobody pays for it.",
        ),
    }
}

async fn show(app: &'static Payment, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let id: PaymentId = request.id("id", "payment")?;
    let orders = PostgresOrders::new(&app.database);
    let payment = orders.find(id, caller.scope()).await?;
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
    let payments = orders.list(order_id, caller.scope(), page).await?;
    let payments = payments.ok_or_else(|| Problem::not_found("order"))?;
    Ok(Response::json(StatusCode::OK, &payments.map(PaymentBody::from)))
}

fn provider(app: &'static Payment) -> impl Provider {
    Bounded(ComposedProvider::new(&app.provider_url))
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

async fn described(_: &'static Payment, request: Request) -> Answer {
    DESCRIPTION.answer(&request)
}
