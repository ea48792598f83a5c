//! What ordering's routes take and answer. It is compiled for the tests alone, which hold `openapi.json` against it.

use super::shapes::{HistoryBody, NewOrder, Nothing, OrderBody};
use crate::application::{StoredHistory, StoredHistoryItem};
use crate::domain::{Order, OrderItem, OrderStatus, Product};
use contracts::{Money, PaymentMethod, UserId};
use description::values::EXAMPLE_ID;
use description::{Access, Description, Taken, by_id, expect_described, get, post, problems, query};
use serde_json::{Value, json};
use service::json::from_slice;
use service::trace::Traceparent;

fn describe() -> Description {
    let one = || by_id("id", "The order.");
    let time = || json!({"type": "string", "format": "date-time"});
    Description::new("orders", "Orders", "What was ordered, and what became of it.")
        .with_schema("NewOrderItem", new_item())
        .with(
            post("/orders", "placeOrder", "Place an order")
                .text(
                    "The price comes from the catalog and is the order's for life. A flower or bouquet that there is \
                     not is 422. An order for more than there is is taken, and soon cancelled as `out_of_stock`.",
                )
                .only_for(Access::SignedIn)
                .keyed()
                .takes::<NewOrder>(Taken::Always, new_order())
                .answers(201, "The order.", &OrderBody::from(&order()))
                .located()
                .replayable(201)
                .refuses(&[problems::OTHER_TOTAL]),
        )
        .with(
            get("/orders", "listOrders", "Your orders, newest first")
                .text("An admin sees everybody's.")
                .only_for(Access::SignedIn)
                .with(query("status", "Only those of this status.", json!({"$ref": "#/components/schemas/OrderStatus"})))
                .with(query("created_from", "Only those placed at this time or later.", time()))
                .with(query("created_to", "Only those placed at this time or earlier.", time()))
                .with(query(
                    "user_id",
                    "Only this user's. Heeded of admins alone.",
                    json!({"type": "string", "format": "uuid"}),
                ))
                .paged()
                .answers_page("A page of orders.", &OrderBody::from(&order())),
        )
        .with(
            get("/orders/{id}", "showOrder", "One order")
                .only_for(Access::SignedIn)
                .with(one())
                .answers(200, "The order.", &OrderBody::from(&order())),
        )
        .with(
            post("/orders/{id}/cancel", "cancelOrder", "Cancel an order")
                .text("Until it is handed to delivery. What was paid goes back. A cancelled order stays as it is.")
                .only_for(Access::SignedIn)
                .with(one())
                .keyed()
                .takes::<Nothing>(Taken::OrNothing, json!({}))
                .answers(200, "The order, cancelled.", &OrderBody::from(&order()))
                .replayable(200)
                .refuses(&[problems::ORDER_HANDED_OVER]),
        )
        .with(
            get("/orders/{id}/history", "showHistory", "What became of an order")
                .text("One item for each change of status, oldest first; other facts are notes.")
                .only_for(Access::SignedIn)
                .with(one())
                .answers(200, "The history.", &HistoryBody::from(history())),
        )
        .of_itself(["ordersHealth", "ordersDescription"], ["/orders/health", "/orders/openapi.json"])
}

/// One line of a new order: exactly one of the two ids, and null is as good as nothing.
fn new_item() -> Value {
    let line = |product: &str, other: &str| {
        json!({
            "type": "object", "required": [product, "quantity"], "additionalProperties": false,
            "properties": {
                product: {"$ref": "#/components/schemas/Id"},
                other: {"type": "null"},
                "quantity": {"$ref": "#/components/schemas/Quantity"},
            },
        })
    };
    json!({
        "description": "So many of one flower or bouquet.",
        "oneOf": [line("flower_id", "bouquet_id"), line("bouquet_id", "flower_id")],
    })
}

fn new_order() -> Value {
    json!({
        "items": [{"flower_id": EXAMPLE_ID, "quantity": 3}], "delivery_address": "1 Rose Street",
        "payment_method": "pm_card_visa", "expected_total": {"amount": "450.00", "currency": "RUB"},
    })
}

fn order() -> Order {
    let created_at = "2026-01-31T12:00:00Z".parse().unwrap();
    Order {
        id: EXAMPLE_ID.parse().unwrap(),
        user_id: EXAMPLE_ID.parse().unwrap(),
        status: OrderStatus::Created,
        status_reason: None,
        total: Money::rub(45_000).unwrap(),
        delivery_address: "1 Rose Street".to_owned(),
        payment_method: PaymentMethod::Visa,
        payment_due_at: Some("2026-01-31T12:15:00Z".parse().unwrap()),
        payment_attempt: 0,
        stock_reserved: false,
        version: 1,
        items: vec![OrderItem {
            id: EXAMPLE_ID.parse().unwrap(),
            product: Product::Flower(EXAMPLE_ID.parse().unwrap()),
            quantity: 3.try_into().unwrap(),
            price: Money::rub(15_000).unwrap(),
        }],
        created_at,
        updated_at: created_at,
    }
}

fn history() -> StoredHistory {
    let item = |what: &str, cause: &str, event_id: Option<&str>| StoredHistoryItem {
        what: what.to_owned(),
        at: "2026-01-31T12:00:00Z".parse().unwrap(),
        cause: cause.to_owned(),
        event_id: event_id.map(|id| id.parse().unwrap()),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
    };
    StoredHistory {
        items: vec![
            item("created", "OrderPlaced", None),
            item("payment_completed", "PaymentCompleted", Some(EXAMPLE_ID)),
        ],
        notes: vec![item("stock_reserved", "StockReserved", Some(EXAMPLE_ID))],
    }
}

#[test]
fn the_file_that_is_served_describes_every_route_as_the_code_has_it() {
    expect_described(super::router().routes(), &describe(), env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn the_examples_of_requests_hold() {
    let new: NewOrder = from_slice(new_order().to_string().as_bytes()).unwrap();
    assert!(
        new.into_command(UserId::new(), None, Traceparent::random())
            .is_ok()
    );
}

#[test]
fn a_new_line_has_the_fields_that_are_described_and_no_others() {
    let lines = [
        (json!({"flower_id": EXAMPLE_ID, "quantity": 1}), true),
        (
            json!({"bouquet_id": EXAMPLE_ID, "flower_id": null, "quantity": 1000}),
            true,
        ),
        (
            json!({"flower_id": EXAMPLE_ID, "bouquet_id": EXAMPLE_ID, "quantity": 1}),
            false,
        ),
        (json!({"flower_id": null, "quantity": 1}), false),
        (json!({"flower_id": EXAMPLE_ID, "quantity": 1001}), false),
        (json!({"flower_id": EXAMPLE_ID, "quantity": 1, "price": 1}), false),
    ];
    for (line, holds) in lines {
        let body = json!({"items": [line], "delivery_address": "1 Rose Street"}).to_string();
        let read = from_slice::<NewOrder>(body.as_bytes())
            .and_then(|new| new.into_command(UserId::new(), None, Traceparent::random()));
        assert_eq!(read.is_ok(), holds, "{body}");
    }
}
