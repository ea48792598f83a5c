//! An order from click to door.

use crate::anybody;
use anyhow::Result;
use serde_json::Value;
use shop_tests::Actor;

fn words<'a>(history: &'a Value, field: &str) -> Vec<&'a str> {
    let items = history["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item[field].as_str()).collect()
}

async fn shipment_of(actor: &Actor, order_id: &str) -> Result<Value> {
    actor
        .get(&format!("/api/delivery/order/{order_id}"))
        .await?
        .expect(200)
}

#[tokio::test]
async fn an_order_travels_from_click_to_door() -> Result<()> {
    let (user, admin, courier) = (
        anybody()?.register().await?,
        anybody()?.admin().await?,
        anybody()?.courier().await?,
    );
    let rose = admin.add_flower("Rose for the whole way", "150.00").await?;

    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    let order = user.await_status(&order_id, "shipping").await?;
    assert_eq!(order["total_amount"]["amount"], "150.00");
    assert!(
        order["payment_due_at"].as_str() > order["created_at"].as_str(),
        "{order}"
    );

    let payments = user
        .get(&format!("/api/payments/order/{order_id}"))
        .await?
        .expect(200)?;
    assert_eq!(payments["items"].as_array().map(Vec::len), Some(1), "{payments}");
    let payment = &payments["items"][0];
    assert_eq!(payment["status"], "completed");
    assert_eq!(payment["amount"]["amount"], "150.00");
    assert!(payment["transaction_id"].is_string());

    let shipment = shipment_of(&user, &order_id).await?;
    assert_eq!(shipment["status"], "shipped");
    assert!(shipment["tracking_number"].is_string());

    let path = format!(
        "/api/delivery/{}/deliver",
        shipment["id"].as_str().unwrap_or_default()
    );
    let delivered = courier
        .send(courier.request(reqwest::Method::POST, &path))
        .await?
        .expect(200)?;
    assert_eq!(delivered["status"], "delivered");

    user.await_status(&order_id, "completed").await?;
    let history = user
        .get(&format!("/api/orders/{order_id}/history"))
        .await?
        .expect(200)?;
    assert_eq!(
        words(&history, "status"),
        ["created", "payment_completed", "shipping", "completed"]
    );
    assert_eq!(
        words(&history, "cause"),
        [
            "OrderPlaced",
            "PaymentCompleted",
            "ShipmentCreated",
            "ShipmentDelivered"
        ]
    );
    let traces = words(&history, "trace_id");
    assert!(traces.len() == 4, "{history}");
    Ok(())
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_the_shipment() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Traced rose", "150.00").await?;
    user.order_once_known(&rose, "pm_card_visa").await?;

    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = serde_json::json!({"items": [{"flower_id": rose, "quantity": 1}], "delivery_address": "1 Rose Street"});
    let request = user.request(reqwest::Method::POST, "/api/orders").json(&body);
    let request = request.header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"));
    let order = user.send(request).await?.expect(201)?;
    let order_id = order["id"].as_str().unwrap_or_default();
    user.await_status(order_id, "shipping").await?;

    let history = user
        .get(&format!("/api/orders/{order_id}/history"))
        .await?
        .expect(200)?;
    assert_eq!(words(&history, "trace_id"), [trace_id; 3]);
    Ok(())
}

#[tokio::test]
async fn a_declined_card_fails_the_payment_and_ships_nothing() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose on a bad card", "150.00").await?;
    let order_id = user.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    let order = user.await_status(&order_id, "payment_failed").await?;
    assert_eq!(order["status_reason"], "card_declined");
    let payments = user
        .get(&format!("/api/payments/order/{order_id}"))
        .await?
        .expect(200)?;
    assert_eq!(payments["items"][0]["status"], "failed");
    assert_eq!(payments["items"][0]["failure_reason"], "card_declined");
    user.get(&format!("/api/delivery/order/{order_id}"))
        .await?
        .expect_problem(404, "not-found")?;
    Ok(())
}

#[tokio::test]
async fn a_slow_and_a_flaky_provider_charge_once_and_the_order_ships() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose for the patient", "150.00").await?;
    for method in ["pm_card_slow", "pm_card_flaky"] {
        let order_id = user.order_once_known(&rose, method).await?;
        user.await_status(&order_id, "shipping").await?;
        let payments = user
            .get(&format!("/api/payments/order/{order_id}"))
            .await?
            .expect(200)?;
        assert_eq!(payments["total"], 1, "{payments}");
        assert_eq!(payments["items"][0]["status"], "completed", "{payments}");
    }
    Ok(())
}

#[tokio::test]
async fn a_new_price_holds_for_new_orders_and_leaves_old_ones_alone() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose at a new price", "150.00").await?;
    let old = user.order_once_known(&rose, "pm_card_visa").await?;

    let price = serde_json::json!({"price": {"amount": "99.90", "currency": "RUB"}});
    admin
        .patch(&format!("/api/catalog/flowers/{rose}"), &price)
        .await?
        .expect(200)?;
    shop_tests::eventually(
        "the new price holds",
        std::time::Duration::from_secs(10),
        async || {
            let order = user.order(&rose, 2).await?.expect(201)?;
            Ok((order["total_amount"]["amount"] == "199.80").then_some(()))
        },
    )
    .await?;
    let old = user.get(&format!("/api/orders/{old}")).await?.expect(200)?;
    assert_eq!(old["total_amount"]["amount"], "150.00");
    Ok(())
}

#[tokio::test]
async fn a_deleted_flower_cannot_be_ordered_and_orders_keep_it() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose that goes", "150.00").await?;
    let kept = user.order_once_known(&rose, "pm_card_visa").await?;
    let path = format!("/api/catalog/flowers/{rose}");
    assert_eq!(admin.delete(&path).await?.status, 204);
    admin.get(&path).await?.expect_problem(404, "not-found")?;
    shop_tests::eventually(
        "it cannot be ordered",
        std::time::Duration::from_secs(10),
        async || Ok((user.order(&rose, 1).await?.status == 422).then_some(())),
    )
    .await?;
    let kept = user.get(&format!("/api/orders/{kept}")).await?.expect(200)?;
    assert_eq!(kept["items"][0]["flower_id"], rose.as_str());
    Ok(())
}
