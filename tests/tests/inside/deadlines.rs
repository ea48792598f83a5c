//! Payment deadlines: durable timers that come home, and what they find.

use crate::{alone, place_order, tell};
use anyhow::{Context, Result};
use contracts::{EventId, Money, OrderId, PaymentCompleted, PaymentDeadlinePassed, PaymentId};
use serde_json::{Value, json};
use shop_tests::events::cloud_event;
use shop_tests::{Shop, eventually};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

async fn quiet_shop() -> Result<Shop> {
    let mut shop = Shop::prepare().await?;
    shop.start_host().await?;
    Ok(shop)
}

fn passed(order_id: OrderId) -> Result<Value> {
    cloud_event(EventId::new(), &PaymentDeadlinePassed { order_id }.into())
}

fn paid(order_id: OrderId) -> Result<Value> {
    let event = PaymentCompleted {
        order_id,
        payment_id: PaymentId::new(),
        attempt: 1,
        amount: Money::rub(15_000)?,
        transaction_id: "tx".to_owned(),
    };
    cloud_event(EventId::new(), &event.into())
}

async fn cancellations(shop: &Shop) -> Result<i64> {
    shop.count("select count(*) from ordering.outbox_messages where event_type = 'OrderCancelled'")
        .await
}

#[tokio::test]
async fn an_order_is_stored_with_the_timer_of_its_deadline() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (user, order_id) = place_order(&shop).await?;
    let order = user.get(&format!("/api/orders/{order_id}")).await?.expect(200)?;
    let due_at = order["payment_due_at"].as_str().context("no deadline")?;
    assert!(Some(due_at) > order["created_at"].as_str(), "{order}");
    let timers = shop
        .count(
            "select count(*) from ordering.outbox_messages as timer
             join ordering.orders on orders.id = timer.aggregate_id and orders.payment_due_at = timer.due_at
             where timer.event_type = 'PaymentDeadlinePassed' and timer.ordering_key <> orders.id::text
               and orders.payment_due_at = orders.created_at + interval '15 minutes'",
        )
        .await?;
    assert_eq!(timers, 1);
    let told = shop
        .count(&format!(
            "select count(*) from ordering.outbox_messages
             where event_type = 'OrderCreated' and payload -> 'data' ->> 'payment_due_at' = '{due_at}'"
        ))
        .await?;
    assert_eq!(told, 1);
    Ok(())
}

#[tokio::test]
async fn a_timer_does_not_hold_its_order_back() -> Result<()> {
    let _alone = alone().await;
    let mut shop = quiet_shop().await?;
    let (user, order_id) = place_order(&shop).await?;
    // What the order tells after its timer was stored.
    user.post(&format!("/api/orders/{order_id}/cancel"), &json!({}))
        .await?
        .expect(200)?;
    let after_the_timer = "select count(*) from ordering.outbox_messages as timer
        join ordering.outbox_messages as word on word.aggregate_id = timer.aggregate_id and word.id > timer.id
        where timer.event_type = 'PaymentDeadlinePassed' and timer.processed_at is null
        and word.event_type = 'OrderCancelled'";
    assert_eq!(shop.count(after_the_timer).await?, 1);
    shop.start_relay(&[]).await?;
    eventually("all but the timer is published", PATIENCE, async || {
        let waiting = "select count(*) from ordering.outbox_messages where processed_at is null";
        let published = format!("{after_the_timer} and word.processed_at is not null");
        Ok((shop.count(waiting).await? == 1 && shop.count(&published).await? == 1).then_some(()))
    })
    .await
}

#[tokio::test]
async fn the_deadline_cancels_once_and_only_what_is_not_paid() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (user, unpaid) = place_order(&shop).await?;
    let deadline = passed(unpaid)?;
    assert_eq!(
        tell(&shop, "ordering", std::slice::from_ref(&deadline)).await?,
        ["processed"]
    );
    assert_eq!(tell(&shop, "ordering", &[deadline]).await?, ["duplicate"]);
    let order = user.await_status(&unpaid.to_string(), "cancelled").await?;
    assert_eq!(order["status_reason"], "payment_deadline");
    assert_eq!(cancellations(&shop).await?, 1);

    let (user, order_id) = place_order(&shop).await?;
    // Paid in time; the stock is not reserved yet.
    tell(&shop, "ordering", &[paid(order_id)?]).await?;
    assert_eq!(
        tell(&shop, "ordering", &[passed(order_id)?]).await?,
        ["processed"]
    );
    user.await_status(&order_id.to_string(), "payment_completed")
        .await?;
    assert_eq!(cancellations(&shop).await?, 1);
    Ok(())
}

#[tokio::test]
async fn who_does_not_pay_in_time_loses_the_flowers_and_the_stock_goes_back() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    let short = ["--variable", "payment_deadline_seconds=5"].map(str::to_owned);
    shop.start_host_with(&short).await?;
    shop.start_relay(&[]).await?;
    let (user, admin) = (
        shop.anonymous()?.register().await?,
        shop.anonymous()?.admin().await?,
    );
    let rose = admin.add_flower("Rose until the deadline", "150.00").await?;
    let paid = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&paid, "shipping").await?;
    let unpaid = user.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    let order = user.await_status(&unpaid, "cancelled").await?;
    assert_eq!(order["status_reason"], "payment_deadline");
    let path = format!("/api/catalog/flowers/{rose}");
    eventually("the stock of one is back", PATIENCE, async || {
        Ok((user.get(&path).await?.expect(200)?["stock_quantity"] == 999_999).then_some(()))
    })
    .await?;
    eventually("every timer has come home", PATIENCE, async || {
        let open = "select count(*) from ordering.outbox_messages where processed_at is null";
        Ok((shop.count(open).await? == 0).then_some(()))
    })
    .await?;
    user.await_status(&paid, "shipping").await?;
    Ok(())
}

#[tokio::test]
async fn a_shop_that_slept_past_a_deadline_keeps_it_when_it_wakes() -> Result<()> {
    let _alone = alone().await;
    let mut shop = quiet_shop().await?;
    let (user, order_id) = place_order(&shop).await?;
    // Nothing carries events. The deadline comes, and the order's own event waits still.
    let database = shop.database().await?;
    database
        .execute(
            "update ordering.outbox_messages
             set due_at = case event_type when 'OrderCreated' then now() + interval '1 day' else now() end",
            &[],
        )
        .await?;
    shop.start_relay(&[]).await?;
    let order = user.await_status(&order_id.to_string(), "cancelled").await?;
    assert_eq!(order["status_reason"], "payment_deadline");
    Ok(())
}
