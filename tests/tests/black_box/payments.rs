//! Payments as their owner reads them.

use crate::anybody;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use shop_tests::eventually;
use std::time::Duration;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_payment_shows_what_was_charged_for_which_order() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose to pay for", "12.34").await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;
    let list = user
        .get(&format!("/api/payments/order/{order_id}"))
        .await?
        .expect(200)?;
    let listed = &list["items"][0];
    let one = user
        .get(&format!(
            "/api/payments/{}",
            listed["id"].as_str().unwrap_or_default()
        ))
        .await?
        .expect(200)?;
    assert_eq!(&one, listed);
    assert_eq!(one["order_id"], order_id.as_str());
    assert_eq!(one["user_id"].as_str(), user.id.as_deref());
    assert_eq!(one["payment_method"], "pm_card_visa");
    assert!(one["failure_reason"].is_null());
    Ok(())
}

#[tokio::test]
async fn an_order_that_payment_has_not_heard_of_is_404() -> Result<()> {
    let admin = anybody()?.admin().await?;
    admin
        .get(&format!("/api/payments/order/{}", Uuid::now_v7()))
        .await?
        .expect_problem(404, "not-found")?;
    Ok(())
}

#[tokio::test]
async fn a_declined_order_is_paid_with_another_card_once() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose on a second card", "150.00").await?;
    let order_id = user.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    user.await_status(&order_id, "payment_failed").await?;

    let pay = |method: &str| json!({"order_id": order_id, "payment_method": method});
    let process = "/api/payments/process";
    anybody()?
        .register()
        .await?
        .post(process, &pay("pm_card_visa"))
        .await?
        .expect_problem(404, "not-found")?;
    user.post(process, &pay("pm_card_gold"))
        .await?
        .expect_problem(422, "validation")?;
    // With the order's own method it is declined again.
    let again = user
        .post(process, &json!({"order_id": order_id}))
        .await?
        .expect(201)?;
    assert_eq!(again["status"], "failed");
    let paid = user.post(process, &pay("pm_card_visa")).await?.expect(201)?;
    assert_eq!(paid["status"], "completed");
    user.await_status(&order_id, "shipping").await?;
    let standing = user.post(process, &pay("pm_card_visa")).await?.expect(200)?;
    assert_eq!(standing["id"], paid["id"]);
    let payments = user
        .get(&format!("/api/payments/order/{order_id}"))
        .await?
        .expect(200)?;
    let statuses: Vec<_> = payments["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|payment| payment["status"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(statuses, ["failed", "failed", "completed"]);
    Ok(())
}

#[tokio::test]
async fn nobody_pays_for_a_cancelled_order() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose that was cancelled", "150.00").await?;
    let order_id = user.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    user.await_status(&order_id, "payment_failed").await?;
    user.post(&format!("/api/orders/{order_id}/cancel"), &json!({}))
        .await?
        .expect(200)?;
    // Payment hears of the cancellation moments later; until then it would charge, and give the money back.
    let path = format!("/api/payments/order/{order_id}");
    let pay = json!({"order_id": order_id, "payment_method": "pm_card_chargeDeclined"});
    let refused = async || {
        let answer = user.post("/api/payments/process", &pay).await?;
        Ok((answer.status == 409).then_some(answer))
    };
    let answer = eventually("payment has heard of the cancellation", PATIENCE, refused).await?;
    answer.expect_problem(409, "order-cancelled")?;
    let payments = user.get(&path).await?.expect(200)?;
    let kept = |payment: &Value| payment["status"] != "failed";
    ensure!(
        !payments["items"].as_array().into_iter().flatten().any(kept),
        "{payments}"
    );
    Ok(())
}
