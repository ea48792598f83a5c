//! Places an order: prices the cart as the catalog says, and stores it with the event that starts the saga and the
//! timer that ends the wait for its payment.

use super::ATTEMPTS;
use super::outcome::Outcome;
use super::ports::{HistoryItem, Orders, Outgoing};
use crate::domain::{Cart, CartError, Customer, Order, Product};
use contracts::{Money, OrderCreated, OrderLine, PaymentDeadlinePassed, Timestamp};
use service::StoreError;
use service::idempotency::{IdempotencyKey, KeptAnswer, Verdict};
use service::trace::Traceparent;
use std::time::Duration;

/// What a client orders.
pub struct PlaceOrder {
    pub customer: Customer,
    pub cart: Cart,
    /// What the client thinks it will pay, if it says so.
    pub expected_total: Option<Money>,
    pub key: Option<IdempotencyKey>,
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

/// Places the order, which is to be paid within `patience`, and gives it as it was stored. `answer` is what is kept
/// under the request's key.
///
/// # Errors
/// If the cart cannot be ordered as it is, or the store does not answer.
pub async fn place_order(
    orders: &impl Orders,
    command: PlaceOrder,
    patience: Duration,
    answer: impl Fn(&Order) -> KeptAnswer,
) -> Result<Outcome, PlaceOrderError> {
    let PlaceOrder {
        customer,
        cart,
        expected_total,
        key,
        trace,
    } = command;
    let products: Vec<Product> = cart.products().collect();
    let catalog = orders.catalog_items(&products).await?;
    let now = Timestamp::now();
    let order = cart.place(customer, expected_total, &catalog, now, patience)?;
    let history = HistoryItem {
        status: order.status,
        at: now,
        cause: "OrderPlaced".into(),
        event_id: None,
        trace_id: trace.trace_id().to_owned(),
    };
    let outgoing = told_of(&order, &trace);
    let kept = key.as_ref().map(|key| (key, answer(&order)));
    let keyed = kept.as_ref().map(|(key, answer)| (*key, answer));
    for _ in 0..ATTEMPTS {
        match orders.insert(&order, &history, &outgoing, keyed).await {
            Ok(Verdict::Stored) => return Ok(Outcome::Stored(order)),
            Ok(Verdict::Known(known)) => return Ok(Outcome::Known(known)),
            Err(StoreError::Contention) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}

/// What starts the saga, and the timer of the order's deadline.
fn told_of(order: &Order, trace: &Traceparent) -> Vec<Outgoing> {
    let created = Outgoing {
        event: order_created(order).into(),
        trace: trace.clone(),
        due_at: None,
    };
    let deadline = order.payment_due_at.map(|due_at| Outgoing {
        event: PaymentDeadlinePassed { order_id: order.id }.into(),
        trace: trace.clone(),
        due_at: Some(due_at),
    });
    [created].into_iter().chain(deadline).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::store_in_memory::{Fault, InMemory, answer, cart_of, customer, key};
    use futures::executor::block_on;
    use service::idempotency::Known;

    const PATIENCE: Duration = Duration::from_secs(900);

    fn order_of(orders: &InMemory) -> PlaceOrder {
        PlaceOrder {
            customer: customer(),
            cart: cart_of(orders.with_flower()),
            expected_total: None,
            key: None,
            trace: Traceparent::random(),
        }
    }

    fn place(orders: &InMemory, command: PlaceOrder) -> Result<Outcome, PlaceOrderError> {
        block_on(place_order(orders, command, PATIENCE, answer))
    }

    fn placed(outcome: Result<Outcome, PlaceOrderError>) -> Order {
        match outcome {
            Ok(Outcome::Stored(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_order_sets_the_timer_of_its_deadline() {
        let orders = InMemory::default();
        let order = placed(place(&orders, order_of(&orders)));
        let due_at = Some(order.created_at.plus(PATIENCE));
        assert_eq!(order.payment_due_at, due_at);
        assert_eq!(orders.order(order.id), order);
        assert_eq!(orders.told(), ["OrderCreated", "PaymentDeadlinePassed"]);
        let outbox = orders.outbox.borrow();
        assert_eq!((outbox[0].due_at, outbox[1].due_at), (None, due_at));
        let contracts::Event::OrderCreated(created) = &outbox[0].event else {
            panic!("{outbox:?}")
        };
        assert_eq!(created.payment_due_at, due_at);
    }

    #[test]
    fn an_order_sent_again_under_its_key_is_placed_once_and_answered_the_same() {
        let orders = InMemory::failing([Fault::Contention]);
        let mut command = order_of(&orders);
        let (cart, customer) = (command.cart.clone(), command.customer.clone());
        command.key = Some(key(customer.user_id, "a"));
        let first = placed(place(&orders, command));
        let again = |body| PlaceOrder {
            customer: customer.clone(),
            cart: cart.clone(),
            expected_total: None,
            key: Some(key(customer.user_id, body)),
            trace: Traceparent::random(),
        };
        let known = Known::Answered(answer(&first));
        assert_eq!(place(&orders, again("a")).unwrap(), Outcome::Known(known));
        assert_eq!(
            place(&orders, again("b")).unwrap(),
            Outcome::Known(Known::OtherBody)
        );
        assert_eq!(orders.order_count(), 1);
        assert_eq!(orders.outbox.borrow().len(), 2);
    }

    #[test]
    fn a_store_that_never_comes_to_rest_is_given_up() {
        let orders = InMemory::failing([Fault::Contention; ATTEMPTS]);
        let refused = place(&orders, order_of(&orders));
        assert!(matches!(
            refused,
            Err(PlaceOrderError::Store(StoreError::Contention))
        ));
        assert_eq!(orders.order_count(), 0);
    }
}
