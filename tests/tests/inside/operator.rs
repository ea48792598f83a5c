//! An operator at work on a real shop: a dead letter is found by its order, and tried again, and the shop goes on.

use crate::alone;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shop_tests::{Shop, eventually};
use std::process::Output;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn json(output: &Output) -> Result<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test]
async fn an_order_whose_event_died_goes_on_when_an_operator_tries_it_again() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start().await?;
    let (user, admin) = (
        shop.anonymous()?.register().await?,
        shop.anonymous()?.admin().await?,
    );
    let rose = admin.add_flower("Fated rose", "150.00").await?;
    let known = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&known, "shipping").await?;

    // Delivery is told of paid orders in a way that it cannot understand, once.
    shop.spoil("OrderPaid").await?;
    let order = user.order_once_known(&rose, "pm_card_visa").await?;
    let list = ["dead-letters", "list", "--json", "--order", &order];
    let waiting = eventually("the letter waits", PATIENCE, async || {
        let items = json(&shop.operate(&list).await?)?;
        Ok(items.get(0).cloned())
    })
    .await?;
    assert_eq!(waiting["event_type"], "OrderPaid");
    assert_eq!(waiting["service"], "delivery");
    let id = waiting["id"].as_str().context("no id")?;
    let shown = json(&shop.operate(&["dead-letters", "show", id, "--json"]).await?)?;
    assert_eq!(shown["payload"]["data"]["user_id"], "nobody");

    // The audit speaks of it and blames nobody.
    let answer = shop.expect_clean_audit().await?;
    ensure!(answer["reports"].to_string().contains(id), "{answer}");
    let told = "select count(*) from bridge.outbox_messages
        where event_type = 'EventDeadLettered' and processed_at is not null";
    eventually("the bridge tells of it", PATIENCE, async || {
        Ok((shop.count(told).await? == 1).then_some(()))
    })
    .await?;

    // As it is it dies again; mended by hand, it lives.
    let mend = "update bridge.dead_letters set body = convert_to(replace(convert_from(body, 'UTF8'), 'nobody', $1), 'UTF8')
        where resolved_at is null";
    shop.database().await?.execute(mend, &[&user.id]).await?;
    let dry = shop
        .operate(&["dead-letters", "retry", "--all", "--order", &order, "--dry-run"])
        .await?;
    ensure!(
        String::from_utf8_lossy(&dry.stdout).contains("would be retried"),
        "{dry:?}"
    );
    let by = ["dead-letters", "retry", id, "--by", "anna", "--json"];
    assert_eq!(json(&shop.operate(&by).await?)?[0]["outcome"], "retried");
    user.await_status(&order, "shipping").await?;
    let again = shop.operate(&by).await?;
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8_lossy(&again.stderr);
    ensure!(said.lines().count() == 1 && said.contains(id), "{said}");
    let by_anna = "select count(*) from bridge.dead_letter_acts where by_whom = 'anna' and act = 'retried'";
    assert_eq!(shop.count(by_anna).await?, 1);

    // Everything that was published comes again, and changes nothing.
    shop.spoil_no_more().await?;
    let replayed = json(&shop.operate(&["replay", "--since", "1h", "--json"]).await?)?;
    let rows = |service: &str| {
        let outboxes = replayed.as_array().into_iter().flatten();
        let mut named = outboxes.filter(|outbox| outbox["service"] == service);
        named
            .next()
            .and_then(|outbox| outbox["rows"].as_i64())
            .unwrap_or_default()
    };
    ensure!(rows("ordering") >= 4 && rows("payment") >= 2, "{replayed}");
    eventually("all is published again", PATIENCE, async || {
        let open = "select (select count(*) from ordering.outbox_messages where processed_at is null and due_at <= now())
            + (select count(*) from payment.outbox_messages where processed_at is null and due_at <= now())";
        Ok((shop.count(open).await? == 0).then_some(()))
    })
    .await?;
    // The spoilt OrderPaid dies again: what is kept in the outbox was never mended. Delivery knows its order already.
    let discard = [
        "dead-letters",
        "discard",
        "--all",
        "--order",
        &order,
        "--reason",
        "the shop has it",
    ];
    eventually("the spoilt event is discarded", PATIENCE, async || {
        let output = shop.operate(&discard).await?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .contains("discarded")
            .then_some(()))
    })
    .await?;
    shop.expect_clean_audit().await?;
    assert_eq!(shop.count("select count(*) from delivery.shipments").await?, 2);
    assert_eq!(
        shop.count("select count(*) from payment_provider.charges")
            .await?,
        2
    );
    Ok(())
}
