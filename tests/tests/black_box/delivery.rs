//! Shipments as couriers and admins handle them.

use crate::anybody;
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

#[tokio::test]
async fn delivering_again_changes_nothing() -> Result<()> {
    let (user, admin, courier) = (
        anybody()?.register().await?,
        anybody()?.admin().await?,
        anybody()?.courier().await?,
    );
    let rose = admin.add_flower("Rose to deliver", "150.00").await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;
    let shipment = user
        .get(&format!("/api/delivery/order/{order_id}"))
        .await?
        .expect(200)?;
    let id = shipment["id"].as_str().context("no id")?;
    let deliver = format!("/api/delivery/{id}/deliver");
    courier
        .post(&deliver, &json!({"by": "me"}))
        .await?
        .expect_problem(422, "validation")?;

    let mut racing = JoinSet::new();
    for _ in 0..8 {
        let (courier, request) = (courier.clone(), courier.request(Method::POST, &deliver));
        racing.spawn(async move { courier.send(request).await?.expect(200) });
    }
    let answers = racing.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    user.await_status(&order_id, "completed").await?;
    let history = user
        .get(&format!("/api/orders/{order_id}/history"))
        .await?
        .expect(200)?;
    assert_eq!(history["items"].as_array().map(Vec::len), Some(4), "{history}");
    Ok(())
}

#[tokio::test]
async fn a_shipment_is_made_once_and_only_for_an_order_that_delivery_knows() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose to ship", "150.00").await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;
    let again = admin
        .post("/api/delivery/create", &json!({"order_id": order_id}))
        .await?;
    assert_eq!(again.status, 409, "{}", again.text);
    let unknown = json!({"order_id": Uuid::now_v7()});
    admin
        .post("/api/delivery/create", &unknown)
        .await?
        .expect_problem(404, "not-found")?;
    Ok(())
}

#[tokio::test]
async fn couriers_see_what_is_to_be_delivered_oldest_first() -> Result<()> {
    let (user, admin, courier) = (
        anybody()?.register().await?,
        anybody()?.admin().await?,
        anybody()?.courier().await?,
    );
    let rose = admin.add_flower("Rose in the list", "150.00").await?;
    for _ in 0..2 {
        let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
        user.await_status(&order_id, "shipping").await?;
    }
    let list = courier
        .get("/api/delivery?status=shipped&limit=100")
        .await?
        .expect(200)?;
    let times: Vec<&str> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["created_at"].as_str())
        .collect();
    assert!(times.len() >= 2 && times.is_sorted(), "{times:?}");
    courier
        .get("/api/delivery?status=eaten")
        .await?
        .expect_problem(422, "validation")?;
    Ok(())
}

#[tokio::test]
async fn a_courier_says_why_a_shipment_failed_and_that_is_its_end() -> Result<()> {
    let (user, admin, courier) = (
        anybody()?.register().await?,
        anybody()?.admin().await?,
        anybody()?.courier().await?,
    );
    let rose = admin.add_flower("Rose that comes back", "150.00").await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;
    let shipment = user
        .get(&format!("/api/delivery/order/{order_id}"))
        .await?
        .expect(200)?;
    let id = shipment["id"].as_str().context("no id")?;
    let (fail, deliver) = (
        format!("/api/delivery/{id}/fail"),
        format!("/api/delivery/{id}/deliver"),
    );
    let reason = json!({"reason": " nobody at home "});
    user.post(&fail, &reason)
        .await?
        .expect_problem(403, "forbidden")?;
    for bad in [
        json!({}),
        json!({"reason": " "}),
        json!({"reason": "x".repeat(501)}),
    ] {
        courier
            .post(&fail, &bad)
            .await?
            .expect_problem(422, "validation")?;
    }
    let failed = courier.post(&fail, &reason).await?.expect(200)?;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["failure_reason"], "nobody at home");
    let again = courier.post(&fail, &json!({"reason": "the dog"})).await?;
    assert_eq!(again.expect(200)?, failed);
    courier
        .post(&deliver, &json!({}))
        .await?
        .expect_problem(409, "shipment-ended")?;
    Ok(())
}
