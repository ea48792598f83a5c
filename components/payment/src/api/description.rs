//! What payment's routes take and answer. It is compiled for the tests alone, which hold `openapi.json` against it.

use super::shapes::{NewPayment, PaymentBody};
use crate::domain::{Attempt, Payment, PaymentState};
use contracts::{Money, PaymentMethod};
use description::values::EXAMPLE_ID;
use description::{Access, Description, Taken, by_id, expect_described, get, post, problems};
use serde_json::{Value, json};
use service::json::from_slice;
use service::trace::Traceparent;

fn describe() -> Description {
    Description::new("payments", "Payments", "How orders are paid.")
        .with(
            post("/payments/process", "processPayment", "Pay an order")
                .text(
                    "An order is paid by itself; this is for one whose payment failed. It never charges twice: what \
                     is under way, or has taken the money, is the answer (200).",
                )
                .only_for(Access::SignedIn)
                .keyed()
                .takes::<NewPayment>(Taken::Always, new_payment())
                .answers(201, "The payment that was started, as far as it got.", &payment())
                .located()
                .replayable(201)
                .answers(200, "The payment that is under way or stands.", &payment())
                .replayable(200)
                .refuses(&[problems::NOT_FOUND, problems::ORDER_CANCELLED, problems::PAYMENT_DEADLINE]),
        )
        .with(
            get("/payments/{id}", "showPayment", "One payment")
                .only_for(Access::SignedIn)
                .with(by_id("id", "The payment."))
                .answers(200, "The payment.", &payment()),
        )
        .with(
            get("/payments/order/{order_id}", "listPaymentsOfOrder", "The payments of an order, oldest first")
                .text("404 until payment has heard of the order.")
                .only_for(Access::SignedIn)
                .with(by_id("order_id", "The order."))
                .paged()
                .answers_page("A page of payments.", &payment()),
        )
        .of_itself(
            ["paymentsHealth", "paymentsDescription"],
            ["/payments/health", "/payments/openapi.json"],
        )
}

fn new_payment() -> Value {
    json!({"order_id": EXAMPLE_ID, "payment_method": "pm_card_visa"})
}

fn payment() -> PaymentBody {
    let attempt = Attempt {
        payment_id: EXAMPLE_ID.parse().unwrap(),
        order_id: EXAMPLE_ID.parse().unwrap(),
        user_id: EXAMPLE_ID.parse().unwrap(),
        number: 1,
        amount: Money::rub(45_000).unwrap(),
        method: PaymentMethod::Visa,
    };
    let at = "2026-01-31T12:00:00Z".parse().unwrap();
    let state = PaymentState::from_words("completed", Some(format!("tx_{EXAMPLE_ID}")), None).unwrap();
    Payment::restore(attempt, state, at, at).into()
}

#[test]
fn the_file_that_is_served_describes_every_route_as_the_code_has_it() {
    expect_described(super::router().routes(), &describe(), env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn the_examples_of_requests_hold() {
    let new: NewPayment = from_slice(new_payment().to_string().as_bytes()).unwrap();
    assert!(new.into_command(None, None, Traceparent::random()).is_ok());
}
