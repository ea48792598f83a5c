//! Requests sent again under their `Idempotency-Key`: done once, answered the same.

use crate::anybody;
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::{Actor, Answer};
use tokio::task::JoinSet;
use uuid::Uuid;

const ORDERS: &str = "/api/orders";

/// Sends `body` under `key`.
async fn send(actor: &Actor, path: &str, key: &str, body: &Value) -> Result<Answer> {
    let request = actor.request(Method::POST, path).json(body);
    actor.send(request.header("idempotency-key", key)).await
}

fn new_key() -> String {
    Uuid::now_v7().to_string()
}

fn order_of(flower_id: &str, method: &str) -> Value {
    json!({
        "items": [{"flower_id": flower_id, "quantity": 1}],
        "delivery_address": "1 Rose Street",
        "payment_method": method,
    })
}

/// A user, and a flower that can be ordered.
async fn customer() -> Result<(Actor, String)> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose for a double click", "150.00").await?;
    user.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    Ok((user, rose))
}

async fn orders_of(user: &Actor) -> Result<Value> {
    Ok(user.get(ORDERS).await?.expect(200)?["total"].clone())
}

fn id_of(order: &Value) -> Result<String> {
    Ok(order["id"].as_str().context("an order without id")?.to_owned())
}

/// Checks that `again` is `first`, and says so.
fn expect_replay(first: &Answer, again: &Answer) -> Result<()> {
    ensure!(first.header("idempotency-replayed").is_empty(), "{first:?}");
    ensure!(again.header("idempotency-replayed") == "true", "{again:?}");
    ensure!(
        (again.status, &again.text) == (first.status, &first.text),
        "{again:?}"
    );
    for name in ["content-type", "location"] {
        ensure!(again.header(name) == first.header(name), "{name}: {again:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_double_click_makes_no_second_order() -> Result<()> {
    let (user, rose) = customer().await?;
    let (key, body) = (new_key(), order_of(&rose, "pm_card_visa"));
    let first = send(&user, ORDERS, &key, &body).await?;
    let order_id = id_of(&first.expect(201)?)?;
    ensure!(first.header("location") == format!("{ORDERS}/{order_id}"));
    // The order goes on; the answer stays.
    user.await_status(&order_id, "shipping").await?;
    for _ in 0..2 {
        expect_replay(&first, &send(&user, ORDERS, &key, &body).await?)?;
    }
    assert_eq!(orders_of(&user).await?, 2);
    Ok(())
}

#[tokio::test]
async fn twenty_clicks_at_once_are_one_order() -> Result<()> {
    let (user, rose) = customer().await?;
    let (key, body) = (new_key(), order_of(&rose, "pm_card_visa"));
    let mut clicks = JoinSet::new();
    for _ in 0..20 {
        let (user, key, body) = (user.clone(), key.clone(), body.clone());
        clicks.spawn(async move {
            loop {
                let answer = send(&user, ORDERS, &key, &body).await?;
                if answer.status == 409 {
                    answer.expect_problem(409, "request-in-flight")?;
                    ensure!(answer.header("retry-after") == "1", "{answer:?}");
                } else {
                    return id_of(&answer.expect(201)?);
                }
            }
        });
    }
    let mut ids = clicks.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(orders_of(&user).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_key_is_for_one_body_one_path_and_one_user() -> Result<()> {
    let (user, rose) = customer().await?;
    let key = new_key();
    let declined = order_of(&rose, "pm_card_chargeDeclined");
    let order = send(&user, ORDERS, &key, &declined).await?.expect(201)?;
    send(&user, ORDERS, &key, &order_of(&rose, "pm_card_visa"))
        .await?
        .expect_problem(422, "idempotency-key-reused")?;

    let stranger = anybody()?.register().await?;
    let theirs = send(&stranger, ORDERS, &key, &declined).await?;
    ensure!(theirs.header("idempotency-replayed").is_empty(), "{theirs:?}");
    assert_ne!(theirs.expect(201)?["id"], order["id"]);

    let cancel = format!("{ORDERS}/{}/cancel", id_of(&order)?);
    let cancelled = send(&user, &cancel, &key, &json!({})).await?;
    ensure!(
        cancelled.header("idempotency-replayed").is_empty(),
        "{cancelled:?}"
    );
    assert_eq!(cancelled.expect(200)?["status"], "cancelled");
    Ok(())
}

#[tokio::test]
async fn both_spellings_of_the_api_are_one_path() -> Result<()> {
    let (user, rose) = customer().await?;
    let (key, body) = (new_key(), order_of(&rose, "pm_card_visa"));
    let first = send(&user, ORDERS, &key, &body).await?;
    first.expect(201)?;
    expect_replay(&first, &send(&user, "/api/v1/orders", &key, &body).await?)
}

#[tokio::test]
async fn a_refusal_is_given_again() -> Result<()> {
    let (user, rose) = customer().await?;
    let key = new_key();
    let unknown = order_of(&Uuid::now_v7().to_string(), "pm_card_visa");
    let first = send(&user, ORDERS, &key, &unknown).await?;
    first.expect_problem(422, "validation")?;
    expect_replay(&first, &send(&user, ORDERS, &key, &unknown).await?)?;

    let other_total = json!({
        "items": [{"flower_id": rose, "quantity": 1}],
        "delivery_address": "1 Rose Street",
        "expected_total": {"amount": "1.00", "currency": "RUB"},
    });
    let key = new_key();
    let first = send(&user, ORDERS, &key, &other_total).await?;
    first.expect_problem(409, "other-total")?;
    expect_replay(&first, &send(&user, ORDERS, &key, &other_total).await?)?;
    assert_eq!(orders_of(&user).await?, 1);
    Ok(())
}

#[tokio::test]
async fn what_says_nothing_of_the_request_itself_is_not_kept() -> Result<()> {
    let (user, rose) = customer().await?;
    let (key, body) = (new_key(), order_of(&rose, "pm_card_chargeDeclined"));
    send(&user.with_token("none"), ORDERS, &key, &body)
        .await?
        .expect_problem(401, "unauthorized")?;
    let text = user.request(Method::POST, ORDERS).body(body.to_string());
    let text = text
        .header("idempotency-key", &key)
        .header("content-type", "text/plain");
    user.send(text)
        .await?
        .expect_problem(415, "unsupported-media-type")?;
    let large = user.request(Method::POST, ORDERS).body(vec![b' '; 65 * 1024]);
    let large = large
        .header("idempotency-key", &key)
        .header("content-type", "application/json");
    user.send(large).await?.expect_problem(413, "body-too-large")?;
    let placed = send(&user, ORDERS, &key, &body).await?;
    placed.expect(201)?;
    ensure!(placed.header("idempotency-replayed").is_empty(), "{placed:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_is_1_to_128_visible_ascii_characters() -> Result<()> {
    let (user, rose) = customer().await?;
    let body = order_of(&rose, "pm_card_chargeDeclined");
    for bad in ["", "a b", &"k".repeat(129)] {
        send(&user, ORDERS, bad, &body)
            .await?
            .expect_problem(400, "malformed")?;
    }
    let longest = format!("{:~>128}", Uuid::now_v7());
    send(&user, ORDERS, &longest, &body).await?.expect(201)?;
    assert_eq!(orders_of(&user).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_cancellation_sent_again_is_answered_as_it_was() -> Result<()> {
    let (user, rose) = customer().await?;
    let order_id = id_of(
        &user
            .order_paying(&rose, 1, "pm_card_chargeDeclined")
            .await?
            .expect(201)?,
    )?;
    user.await_status(&order_id, "payment_failed").await?;
    let (key, cancel) = (new_key(), format!("{ORDERS}/{order_id}/cancel"));
    let first = send(&user, &cancel, &key, &json!({})).await?;
    assert_eq!(first.expect(200)?["status_reason"], "cancelled_by_user");
    expect_replay(&first, &send(&user, &cancel, &key, &json!({})).await?)?;
    // Under another key it is a request of its own, of an order that is cancelled already.
    let key = new_key();
    let unchanged = send(&user, &cancel, &key, &json!({})).await?;
    assert_eq!(unchanged.expect(200)?["status"], "cancelled");
    expect_replay(&unchanged, &send(&user, &cancel, &key, &json!({})).await?)
}

#[tokio::test]
async fn a_cancellation_that_was_refused_stays_refused() -> Result<()> {
    let (user, rose) = customer().await?;
    let order_id = id_of(&user.order(&rose, 1).await?.expect(201)?)?;
    user.await_status(&order_id, "shipping").await?;
    let (key, cancel) = (new_key(), format!("{ORDERS}/{order_id}/cancel"));
    let first = send(&user, &cancel, &key, &json!({})).await?;
    first.expect_problem(409, "order-handed-over")?;
    expect_replay(&first, &send(&user, &cancel, &key, &json!({})).await?)?;

    let nobodys = format!("{ORDERS}/{}/cancel", Uuid::now_v7());
    let first = send(&user, &nobodys, &key, &json!({})).await?;
    first.expect_problem(404, "not-found")?;
    expect_replay(&first, &send(&user, &nobodys, &key, &json!({})).await?)
}
