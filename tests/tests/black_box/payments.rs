//! Payments as their owner reads them.

use crate::anybody;
use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::{Actor, Answer, eventually};
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

const PROCESS: &str = "/api/payments/process";

/// An order of a new user's whose card was declined.
async fn declined_order(name: &str) -> Result<(Actor, String)> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower(name, "150.00").await?;
    let order_id = user.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    user.await_status(&order_id, "payment_failed").await?;
    Ok((user, order_id))
}

async fn payments(user: &Actor, order_id: &str) -> Result<Vec<Value>> {
    let page = user
        .get(&format!("/api/payments/order/{order_id}"))
        .await?
        .expect(200)?;
    page["items"].as_array().cloned().context("no items")
}

async fn pay_under(user: &Actor, key: &str, body: &Value) -> Result<Answer> {
    let request = user.request(Method::POST, PROCESS).header("idempotency-key", key);
    user.send(request.json(body)).await
}

#[tokio::test]
async fn a_slow_charge_is_processing_and_completes_by_itself() -> Result<()> {
    let (user, order_id) = declined_order("Rose on a slow card").await?;
    let pay = json!({"order_id": order_id, "payment_method": "pm_card_slow"});
    let payment = user.post(PROCESS, &pay).await?.expect(201)?;
    assert_eq!(payment["status"], "processing");
    // Nobody asks payment for it.
    user.await_status(&order_id, "shipping").await?;
    let payments = payments(&user, &order_id).await?;
    assert_eq!(payments.len(), 2);
    assert_eq!(payments[1]["id"], payment["id"]);
    assert_eq!(payments[1]["status"], "completed");
    Ok(())
}

#[tokio::test]
async fn a_payment_under_a_key_is_made_once_and_answered_the_same() -> Result<()> {
    let (user, order_id) = declined_order("Rose under a key").await?;
    // Declined again: without the key a second request would be another attempt.
    let pay = json!({"order_id": order_id});
    let first = pay_under(&user, "pay-1", &pay).await?;
    assert_eq!(first.expect(201)?["status"], "failed");
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = pay_under(&user, "pay-1", &pay).await?;
    again.expect(201)?;
    assert_eq!(again.text, first.text);
    for name in ["location", "content-type"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(payments(&user, &order_id).await?.len(), 2);

    let other = json!({"order_id": order_id, "payment_method": "pm_card_visa"});
    pay_under(&user, "pay-1", &other)
        .await?
        .expect_problem(422, "idempotency-key-reused")?;
    pay_under(&user, "no key", &pay)
        .await?
        .expect_problem(400, "malformed")?;
    // Somebody else's key is another key.
    let stranger = anybody()?.register().await?;
    pay_under(&stranger, "pay-1", &pay)
        .await?
        .expect_problem(404, "not-found")?;
    let paid = pay_under(&user, "pay-2", &other).await?.expect(201)?;
    assert_eq!(paid["status"], "completed");
    // What the key answered first stands, whatever came after.
    assert_eq!(pay_under(&user, "pay-1", &pay).await?.text, first.text);
    Ok(())
}

#[tokio::test]
async fn many_requests_under_one_key_at_once_make_one_payment() -> Result<()> {
    let (user, order_id) = declined_order("Rose under a contended key").await?;
    let pay = json!({"order_id": order_id, "payment_method": "pm_card_slow"});
    let requests = (0..10).map(|_| pay_under(&user, "pay-at-once", &pay));
    let answers = try_join_all(requests).await?;
    let (made, told_to_wait): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    ensure!(!made.is_empty(), "nobody paid: {told_to_wait:?}");
    for answer in told_to_wait {
        answer.expect_problem(409, "request-in-flight")?;
        ensure!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
    }
    let again = pay_under(&user, "pay-at-once", &pay).await?;
    assert_eq!(again.header("idempotency-replayed"), "true");
    for answer in &made {
        assert_eq!(answer.text, again.text);
    }
    user.await_status(&order_id, "shipping").await?;
    let payments = payments(&user, &order_id).await?;
    assert_eq!(payments.len(), 2);
    assert_eq!(payments[1]["id"], again.json()["id"]);
    Ok(())
}
