//! Orders that do not end well: money and stock go back.

use crate::anybody;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use shop_tests::{Actor, eventually};
use std::time::Duration;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);

/// A flower of which there are so many, once ordering knows it.
async fn flower(admin: &Actor, user: &Actor, name: &str, stock: u32) -> Result<String> {
    let id = admin.add_flower(name, "150.00").await?;
    // Ordering knows it once it takes an order; what that takes goes back.
    let order_id = user.order_once_known(&id, "pm_card_chargeDeclined").await?;
    cancel(user, &order_id).await?;
    let path = format!("/api/catalog/flowers/{id}");
    let back = async || Ok((admin.get(&path).await?.json()["stock_quantity"] == 1_000_000).then_some(()));
    eventually("the stock is back", PATIENCE, back).await?;
    let change = json!({"stock_delta": i64::from(stock) - 1_000_000});
    admin.patch(&path, &change).await?.expect(200)?;
    Ok(id)
}

async fn cancel(actor: &Actor, order_id: &str) -> Result<Value> {
    let path = format!("/api/orders/{order_id}/cancel");
    let answer = actor.send(actor.request(reqwest::Method::POST, &path)).await?;
    answer.expect(200)
}

fn id_of(order: &Value) -> Result<String> {
    Ok(order["id"].as_str().context("an order without id")?.to_owned())
}

async fn await_stock(anybody: &Actor, flower_id: &str, expected: i64) -> Result<()> {
    let path = format!("/api/catalog/flowers/{flower_id}");
    let there =
        async || Ok((anybody.get(&path).await?.expect(200)?["stock_quantity"] == expected).then_some(()));
    eventually(&format!("the stock is {expected}"), PATIENCE, there).await
}

/// Waits until nothing of what an order paid is kept.
async fn await_money_back(user: &Actor, order_id: &str) -> Result<()> {
    let path = format!("/api/payments/order/{order_id}");
    let back = async || {
        let payments = user.get(&path).await?.expect(200)?;
        let kept = |payment: &Value| !matches!(payment["status"].as_str(), Some("refunded" | "failed"));
        let items = payments["items"].as_array().context("no items")?;
        Ok((!items.iter().any(kept)).then_some(()))
    };
    eventually("the money is back", PATIENCE, back).await
}

#[tokio::test]
async fn an_order_of_more_than_there_is_is_cancelled_and_its_money_goes_back() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = flower(&admin, &user, "Rare rose", 2).await?;
    let order_id = id_of(&user.order(&rose, 3).await?.expect(201)?)?;
    let order = user.await_status(&order_id, "cancelled").await?;
    assert_eq!(order["status_reason"], "out_of_stock");
    await_money_back(&user, &order_id).await?;
    await_stock(&user, &rose, 2).await?;

    let fits = id_of(&user.order(&rose, 2).await?.expect(201)?)?;
    user.await_status(&fits, "shipping").await?;
    await_stock(&user, &rose, 0).await
}

#[tokio::test]
async fn the_last_flower_is_not_oversold_to_fifty_buyers() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = flower(&admin, &user, "The last rose", 1).await?;
    let mut buying = JoinSet::new();
    for _ in 0..50 {
        let (user, rose) = (user.clone(), rose.clone());
        buying.spawn(async move { id_of(&user.order(&rose, 1).await?.expect(201)?) });
    }
    let orders = buying.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let mut shipped = 0;
    for order_id in orders {
        let path = format!("/api/orders/{order_id}");
        let ended = async || {
            let order = user.get(&path).await?.expect(200)?;
            let status = order["status"].as_str().unwrap_or_default().to_owned();
            Ok(["shipping", "cancelled"]
                .contains(&status.as_str())
                .then_some(status))
        };
        if eventually("the order has ended", PATIENCE, ended).await? == "shipping" {
            shipped += 1;
        } else {
            await_money_back(&user, &order_id).await?;
        }
    }
    assert_eq!(shipped, 1);
    await_stock(&user, &rose, 0).await
}

#[tokio::test]
async fn a_cancelled_order_stays_cancelled_and_gives_back_what_it_took() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = flower(&admin, &user, "Rose that nobody wants", 10).await?;
    // A declined card leaves an order that can be cancelled at any time.
    let order = user
        .order_paying(&rose, 4, "pm_card_chargeDeclined")
        .await?
        .expect(201)?;
    let order_id = id_of(&order)?;
    user.await_status(&order_id, "payment_failed").await?;
    await_stock(&user, &rose, 6).await?;
    let path = format!("/api/orders/{order_id}/history");
    eventually("the order knows of its reservation", PATIENCE, async || {
        let history = user.get(&path).await?.expect(200)?;
        Ok((history["notes"][0]["note"] == "stock_reserved").then_some(()))
    })
    .await?;
    anybody()?
        .register()
        .await?
        .post(&format!("/api/orders/{order_id}/cancel"), &json!({}))
        .await?
        .expect_problem(404, "not-found")?;
    for _ in 0..2 {
        let order = cancel(&user, &order_id).await?;
        assert_eq!(order["status"], "cancelled");
        assert_eq!(order["status_reason"], "cancelled_by_user");
    }
    await_stock(&user, &rose, 10).await?;
    let history = user
        .get(&format!("/api/orders/{order_id}/history"))
        .await?
        .expect(200)?;
    let statuses: Vec<_> = history["items"].as_array().into_iter().flatten().collect();
    assert_eq!(statuses.len(), 3, "{history}");
    assert_eq!(history["notes"][0]["note"], "stock_reserved", "{history}");
    Ok(())
}

#[tokio::test]
async fn whoever_cancels_in_the_middle_gets_everything_back_or_the_flowers() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = flower(&admin, &user, "Rose between two minds", 20).await?;
    let mut shipped = 0;
    for _ in 0..20 {
        let order_id = id_of(&user.order(&rose, 1).await?.expect(201)?)?;
        let path = format!("/api/orders/{order_id}/cancel");
        let answer = user.post(&path, &json!({})).await?;
        if answer.status == 409 {
            answer.expect_problem(409, "order-handed-over")?;
            user.await_status(&order_id, "shipping").await?;
            shipped += 1;
        } else {
            answer.expect(200)?;
            // Payment may hear of it only now.
            let path = format!("/api/payments/order/{order_id}");
            let heard = async || Ok((user.get(&path).await?.status == 200).then_some(()));
            eventually("payment has heard of it", PATIENCE, heard).await?;
            await_money_back(&user, &order_id).await?;
        }
    }
    await_stock(&user, &rose, 20 - shipped).await
}

#[tokio::test]
async fn an_order_that_is_on_its_way_cannot_be_cancelled() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose on its way", "150.00").await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;
    user.post(&format!("/api/orders/{order_id}/cancel"), &json!({}))
        .await?
        .expect_problem(409, "order-handed-over")?;
    Ok(())
}

#[tokio::test]
async fn when_shipping_fails_the_charge_is_refunded_and_the_flowers_come_back() -> Result<()> {
    let (user, admin, courier) = (
        anybody()?.register().await?,
        anybody()?.admin().await?,
        anybody()?.courier().await?,
    );
    let rose = flower(&admin, &user, "Rose that nobody opens the door for", 5).await?;
    let order_id = id_of(&user.order(&rose, 2).await?.expect(201)?)?;
    user.await_status(&order_id, "shipping").await?;
    await_stock(&user, &rose, 3).await?;
    let shipment = user
        .get(&format!("/api/delivery/order/{order_id}"))
        .await?
        .expect(200)?;
    let fail = format!("/api/delivery/{}/fail", id_of(&shipment)?);
    courier
        .post(&fail, &json!({"reason": "nobody at home"}))
        .await?
        .expect(200)?;

    let order = user.await_status(&order_id, "cancelled").await?;
    assert_eq!(order["status_reason"], "delivery_failed");
    await_money_back(&user, &order_id).await?;
    await_stock(&user, &rose, 5).await?;
    // There is nothing left to cancel, and the reason stays.
    let again = cancel(&user, &order_id).await?;
    assert_eq!(again["status_reason"], "delivery_failed");

    let path = format!("/api/orders/{order_id}/history");
    let refunded = async || {
        let history = user.get(&path).await?.expect(200)?;
        let notes = history["notes"].as_array().context("no notes")?;
        let noted = notes.iter().any(|note| note["note"] == "payment_refunded");
        Ok(noted.then_some(history))
    };
    let history = eventually("the refund is noted", PATIENCE, refunded).await?;
    let items = history["items"].as_array().context("no items")?;
    let told: Vec<_> = items
        .iter()
        .map(|item| (item["status"].as_str(), item["cause"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("created"), Some("OrderPlaced")),
            (Some("payment_completed"), Some("PaymentCompleted")),
            (Some("shipping"), Some("ShipmentCreated")),
            (Some("cancelled"), Some("ShipmentFailed")),
        ]
    );
    Ok(())
}
