//! What delivery's routes take and answer. It is compiled for the tests alone, which hold `openapi.json` against it.

use super::shapes::{Failure, NewShipment, Nothing, ShipmentBody};
use crate::domain::{Shipment, ShipmentState, TrackingNumber};
use description::values::EXAMPLE_ID;
use description::{Access, Description, Taken, by_id, expect_described, get, post, problems, query};
use serde_json::{Value, json};
use service::json::from_slice;

const STAFF: Access = Access::Only(&["courier", "admin"]);

fn describe() -> Description {
    let one = || by_id("id", "The shipment.");
    let status = json!({"$ref": "#/components/schemas/ShipmentStatus"});
    Description::new("delivery", "Delivery", "How orders reach their recipients.")
        .with(
            post("/delivery/create", "createShipment", "Ship an order")
                .text("For a paid order that has no shipment, where shipping is not automatic.")
                .only_for(Access::Only(&["admin"]))
                .takes::<NewShipment>(Taken::Always, new_shipment())
                .answers(201, "The shipment.", &shipment())
                .located()
                .refuses(&[problems::NOT_FOUND, problems::ALREADY_SHIPPED]),
        )
        .with(
            get("/delivery", "listShipments", "Shipments, oldest first")
                .only_for(STAFF)
                .with(query("status", "Only those of this status.", status))
                .paged()
                .answers_page("A page of shipments.", &shipment()),
        )
        .with(
            get("/delivery/{id}", "showShipment", "One shipment")
                .only_for(Access::SignedIn)
                .with(one())
                .answers(200, "The shipment.", &shipment()),
        )
        .with(
            get(
                "/delivery/order/{order_id}",
                "showShipmentOfOrder",
                "The shipment of an order",
            )
            .only_for(Access::SignedIn)
            .with(by_id("order_id", "The order."))
            .answers(200, "The shipment.", &shipment()),
        )
        .with(
            post(
                "/delivery/{id}/deliver",
                "deliverShipment",
                "Note that a shipment was handed over",
            )
            .text("Said again it changes nothing.")
            .only_for(STAFF)
            .with(one())
            .takes::<Nothing>(Taken::OrNothing, json!({}))
            .answers(200, "The shipment, delivered.", &shipment())
            .refuses(&[problems::SHIPMENT_ENDED]),
        )
        .with(
            post(
                "/delivery/{id}/fail",
                "failShipment",
                "Note that a shipment could not be handed over",
            )
            .text("Said again it changes nothing, the reason included.")
            .only_for(STAFF)
            .with(one())
            .takes::<Failure>(Taken::Always, failure())
            .answers(200, "The shipment, failed.", &shipment())
            .refuses(&[problems::SHIPMENT_ENDED]),
        )
        .of_itself(
            ["deliveryHealth", "deliveryDescription"],
            ["/delivery/health", "/delivery/openapi.json"],
        )
}

fn new_shipment() -> Value {
    json!({"order_id": EXAMPLE_ID})
}

fn failure() -> Value {
    json!({"reason": "Nobody at home"})
}

fn shipment() -> ShipmentBody {
    let created_at = "2026-01-31T12:00:00Z".parse().unwrap();
    ShipmentBody::from(Shipment {
        id: EXAMPLE_ID.parse().unwrap(),
        order_id: EXAMPLE_ID.parse().unwrap(),
        user_id: EXAMPLE_ID.parse().unwrap(),
        delivery_address: "1 Rose Street".to_owned(),
        tracking_number: TrackingNumber::from("FS7Q2M0X4KZ9RB".to_owned()),
        state: ShipmentState::Shipped,
        version: 1,
        created_at,
        updated_at: created_at,
    })
}

#[test]
fn the_file_that_is_served_describes_every_route_as_the_code_has_it() {
    expect_described(super::router().routes(), &describe(), env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn the_examples_of_requests_hold() {
    let new: NewShipment = from_slice(new_shipment().to_string().as_bytes()).unwrap();
    assert!(new.into_order_id().is_ok());
    let failure: Failure = from_slice(failure().to_string().as_bytes()).unwrap();
    assert!(failure.into_reason().is_ok());
}
