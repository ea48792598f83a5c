//! Places an order: prices the cart as the catalog says, and stores it with the event that starts the saga.

use super::ports::{HistoryItem, Orders, Outgoing};
use crate::domain::{Address, Cart, CartError, Order, Product};
use contracts::{Money, OrderCreated, OrderLine, PaymentMethod, Timestamp, UserId};
use service::StoreError;
use service::trace::Traceparent;

/// What a client orders.
pub struct PlaceOrder {
    pub user_id: UserId,
    pub cart: Cart,
    pub delivery_address: Address,
    pub payment_method: PaymentMethod,
    /// What the client thinks it will pay, if it says so.
    pub expected_total: Option<Money>,
    pub trace: Traceparent,
}

/// Why no order was placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceOrderError {
    #[error(transparent)]
    Cart(#[from] CartError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Places the order and gives it back as it was stored.
///
/// # Errors
/// If the cart cannot be ordered as it is, or the store does not answer.
pub async fn place_order(orders: &impl Orders, command: PlaceOrder) -> Result<Order, PlaceOrderError> {
    let PlaceOrder {
        user_id,
        cart,
        delivery_address,
        payment_method,
        expected_total,
        trace,
    } = command;
    let products: Vec<Product> = cart.products().collect();
    let catalog = orders.catalog_items(&products).await?;
    let now = Timestamp::now();
    let order = cart.place(
        user_id,
        delivery_address,
        payment_method,
        expected_total,
        &catalog,
        now,
    )?;
    let history = HistoryItem {
        status: order.status,
        at: now,
        cause: "OrderPlaced",
        event_id: None,
        trace_id: trace.trace_id().to_owned(),
    };
    let outgoing = Outgoing {
        event: order_created(&order).into(),
        trace,
    };
    orders.insert(&order, &history, &outgoing).await?;
    Ok(order)
}

fn order_created(order: &Order) -> OrderCreated {
    let line = |item: &crate::domain::OrderItem| {
        let (flower_id, bouquet_id) = match item.product {
            Product::Flower(id) => (Some(id), None),
            Product::Bouquet(id) => (None, Some(id)),
        };
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
