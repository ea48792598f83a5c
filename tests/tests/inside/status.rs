//! `host-bridge status`: the shop at a glance, and its exit code.

use crate::alone;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shop_tests::{Shop, eventually};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

async fn status(shop: &Shop) -> Result<(Option<i32>, Value)> {
    let output = shop
        .operate(&["status", "--json", "--shop-url", &shop.base])
        .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).context(said)?;
    Ok((output.status.code(), report))
}

#[tokio::test]
async fn status_shows_a_shop_that_is_well_and_what_is_amiss_in_one_that_is_not() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::start().await?;
    let user = shop.anonymous()?.register().await?;
    let rose = user.rose().await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;

    let report = eventually("the shop is well", PATIENCE, async || {
        let (code, report) = status(&shop).await?;
        ensure!(code == Some(0), "{report}");
        Ok(Some(report))
    })
    .await?;
    assert_eq!(report["amiss"], Value::Array(Vec::new()));
    assert_eq!(report["health"]["checks"]["ordering"], "ok");
    assert_eq!(report["outboxes"].as_array().map(Vec::len), Some(5));
    let queues = report["queues"].as_array().context("no queues")?;
    ensure!(queues.iter().all(|queue| queue["consumers"] == 1), "{report}");
    let gauges = report["gauges"].as_array().context("no gauges")?;
    let shipping = gauges
        .iter()
        .find(|gauge| gauge["labels"]["status"] == "shipping");
    let shipping = shipping.context("orders by state are missing")?;
    assert_eq!(
        (&shipping["name"], &shipping["value"]),
        (&"ordering_orders".into(), &1.0.into())
    );

    // For people: plain, as this is no terminal.
    let output = shop.operate(&["status", "--shop-url", &shop.base]).await?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        text.starts_with("all is well") && !text.contains('\u{1b}'),
        "{text}"
    );
    ensure!(text.contains("ordering_orders"), "{text}");

    shop.park().await?;
    shop.stop_host().await?;
    let (code, report) = status(&shop).await?;
    assert_eq!(code, Some(1));
    let amiss = report["amiss"].to_string();
    ensure!(
        amiss.contains("ordering: 1 parked") && amiss.contains("shop: "),
        "{amiss}"
    );
    Ok(())
}
