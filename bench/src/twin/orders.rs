//! `GET /orders` and `POST /orders`, decided by ordering's own domain.

use super::shapes::{NewOrder, OrderBody, split};
use super::{Failure, Twin, unavailable};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use contracts::{OrderCreated, OrderLine, PaymentDeadlinePassed, Timestamp};
use ordering::domain::{Customer, Order, OrderItem, Product};
use serde::Deserialize;
use service::outbox::OutboxRow;
use service::trace::Traceparent;
use service::{Page, PageQuery};
use std::sync::Arc;
use std::time::Duration;

/// How long an order waits for its payment.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    skip: i64,
    #[serde(default = "default_limit")]
    limit: i64,
}

fn default_limit() -> i64 {
    20
}

pub(super) async fn list(
    State(twin): State<Arc<Twin>>,
    headers: HeaderMap,
    Query(ListQuery { skip, limit }): Query<ListQuery>,
) -> Result<Json<Page<OrderBody>>, Failure> {
    let caller = twin.tokens.caller(&headers)?;
    let page = PageQuery { skip, limit };
    let session = twin.postgres.session().await?;
    let orders = session.list(caller.scope(), page).await?;
    Ok(Json(orders.map(OrderBody::from)))
}

pub(super) async fn place(
    State(twin): State<Arc<Twin>>,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<impl IntoResponse, Failure> {
    let caller = twin.tokens.caller(&headers)?;
    let expected_total = new.expected_total;
    let (cart, delivery_address, payment_method) = new.into_parts()?;
    let customer = Customer {
        user_id: caller.user_id,
        delivery_address,
        payment_method,
    };
    let session = twin.postgres.session().await?;
    let products: Vec<Product> = cart.products().collect();
    let catalog = session.catalog_items(&products).await?;
    let now = Timestamp::now();
    let order = cart
        .place(customer, expected_total, &catalog, now, PATIENCE)
        .map_err(|_| Failure::Invalid)?;
    let trace = Traceparent::random();
    let deadline = PaymentDeadlinePassed { order_id: order.id }.into();
    let messages = [
        OutboxRow::new(&created(&order).into(), now, &trace).map_err(unavailable)?,
        OutboxRow::timer(&deadline, now, now.plus(PATIENCE), &trace).map_err(unavailable)?,
    ];
    session.insert(&order, &messages, &trace).await?;
    let location = [(header::LOCATION, format!("/orders/{}", order.id))];
    Ok((StatusCode::CREATED, location, Json(OrderBody::from(order))))
}

fn created(order: &Order) -> OrderCreated {
    let line = |item: &OrderItem| {
        let (flower_id, bouquet_id) = split(item.product);
        OrderLine {
            flower_id,
            bouquet_id,
            quantity: item.quantity.get(),
            price: item.price,
        }
    };
    OrderCreated {
        order_id: order.id,
        user_id: order.user_id,
        total: order.total,
        payment_method: order.payment_method,
        payment_due_at: order.payment_due_at,
        items: order.items.iter().map(line).collect(),
    }
}
