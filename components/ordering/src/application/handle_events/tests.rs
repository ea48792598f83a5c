//! Batches against the store in memory.

use super::*;
use crate::application::store_in_memory::{Fault, InMemory, received};
use crate::domain::{OrderStatus, StatusReason};
use contracts::{
    DeadLetterResolved, EventDeadLettered, PaymentDeadlinePassed, PaymentId, PaymentRefunded, ShipmentFailed,
    ShipmentId, StockReserved,
};
use event_batch::Outcome;
use futures::executor::block_on;

fn handle(orders: &InMemory, batch: Vec<Received>) -> Vec<Outcome> {
    let ids: Vec<EventId> = batch.iter().map(|received| received.id).collect();
    let handled = block_on(handle_events(orders, batch)).unwrap();
    let outcome = |id: EventId| handled.iter().find(|handled| handled.id == id).unwrap().outcome;
    ids.into_iter().map(outcome).collect()
}

fn failed(order_id: OrderId) -> Received {
    received(ShipmentFailed {
        order_id,
        shipment_id: ShipmentId::new(),
        reason: "nobody at home".to_owned(),
    })
}

fn dead(order_id: OrderId, event_type: Option<&str>) -> Received {
    received(EventDeadLettered {
        order_id,
        event_type: event_type.map(str::to_owned),
        queue: "delivery_order_events".to_owned(),
    })
}

fn resolved(order_id: OrderId, resolution: &str) -> Received {
    received(DeadLetterResolved {
        order_id,
        event_type: Some("OrderPaid".to_owned()),
        queue: "delivery_order_events".to_owned(),
        resolution: resolution.to_owned(),
    })
}

const PAID: Fact = Fact::PaymentCompleted { attempt: 1 };

#[test]
fn the_deadline_cancels_who_has_not_paid_once_and_leaves_who_has_alone() {
    let orders = InMemory::default();
    let (unpaid, paid) = (orders.with_order(&[]), orders.with_order(&[PAID]));
    let batch: Vec<_> = [unpaid, paid]
        .map(|order_id| received(PaymentDeadlinePassed { order_id }))
        .into();
    assert_eq!(handle(&orders, batch.clone()), [Outcome::Processed; 2]);
    assert_eq!(handle(&orders, batch), [Outcome::Duplicate; 2]);
    let order = orders.order(unpaid);
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(order.status_reason, Some(StatusReason::PaymentDeadline));
    assert_eq!(orders.order(paid).status, OrderStatus::PaymentCompleted);
    assert_eq!(orders.told(), ["OrderCancelled"]);
    assert_eq!(orders.history.borrow()[0].cause, "PaymentDeadlinePassed");
}

#[test]
fn a_payment_that_is_faster_than_the_deadline_stands() {
    let orders = InMemory::failing([Fault::Raced(PAID)]);
    let order_id = orders.with_order(&[]);
    let deadline = received(PaymentDeadlinePassed { order_id });
    assert_eq!(handle(&orders, vec![deadline]), [Outcome::Processed]);
    assert_eq!(orders.order(order_id).status, OrderStatus::PaymentCompleted);
    assert!(orders.told().is_empty());
}

#[test]
fn a_failed_delivery_waits_for_what_it_needs_and_takes_the_shipment_along() {
    let orders = InMemory::default();
    let order_id = orders.with_order(&[PAID]);
    let failed = failed(order_id);
    assert_eq!(handle(&orders, vec![failed.clone()]), [Outcome::Retry]);
    let reserved = received(StockReserved { order_id });
    assert_eq!(handle(&orders, vec![reserved, failed]), [Outcome::Processed; 2]);
    let history = orders.history.borrow();
    let statuses: Vec<_> = history.iter().map(|item| item.status).collect();
    assert_eq!(statuses, [OrderStatus::Shipping, OrderStatus::Cancelled]);
    assert_eq!(orders.told(), ["OrderPaid", "OrderCancelled"]);
    assert_eq!(
        orders.order(order_id).status_reason,
        Some(StatusReason::DeliveryFailed)
    );
}

#[test]
fn dead_letters_are_noted_with_what_died_or_where() {
    let orders = InMemory::default();
    let order_id = orders.with_order(&[PAID, Fact::CancelledByUser]);
    let batch = vec![
        dead(order_id, Some("OrderPaid")),
        dead(order_id, None),
        resolved(order_id, "retried"),
        resolved(order_id, "discarded"),
    ];
    assert_eq!(handle(&orders, batch), [Outcome::Processed; 4]);
    let notes = orders.notes.borrow();
    let notes: Vec<_> = notes
        .iter()
        .map(|item| (item.note.as_str(), item.cause.as_ref()))
        .collect();
    assert_eq!(
        notes,
        [
            ("dead_letter", "OrderPaid"),
            ("dead_letter", "delivery_order_events"),
            ("dead_letter_retried", "OrderPaid"),
            ("dead_letter_discarded", "OrderPaid"),
        ]
    );
    assert_eq!(orders.order(order_id).status, OrderStatus::Cancelled);
    assert_eq!(
        handle(&orders, vec![resolved(order_id, "eaten")]),
        [Outcome::Rejected]
    );
}

#[test]
fn a_dead_letter_of_no_order_makes_no_dead_letter_of_the_word_about_it() {
    let orders = InMemory::default();
    let nobody = OrderId::new();
    let batch = vec![
        dead(nobody, Some("PaymentRefunded")),
        resolved(nobody, "discarded"),
        received(PaymentRefunded {
            order_id: nobody,
            payment_id: PaymentId::new(),
            attempt: 1,
            amount: contracts::Money::ZERO,
        }),
    ];
    assert_eq!(
        handle(&orders, batch),
        [Outcome::Processed, Outcome::Processed, Outcome::Rejected]
    );
}
