//! The logs of a whole run, good and bad: every line is of the one shape that docs/operations.md describes.

use crate::alone;
use anyhow::{Context, Result, ensure};
use chrono::DateTime;
use reqwest::Method;
use serde_json::{Map, Value, json};
use shop_tests::environment::Server;
use shop_tests::{Shop, eventually};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Checks one line, and gives its fields.
fn read(line: &str) -> Result<Map<String, Value>> {
    let Value::Object(fields) = serde_json::from_str(line).with_context(|| line.to_owned())? else {
        anyhow::bail!("no object: {line}");
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let timestamp = text("timestamp").with_context(|| format!("no timestamp: {line}"))?;
    ensure!(timestamp.ends_with('Z'), "not in UTC: {line}");
    DateTime::parse_from_rfc3339(timestamp).with_context(|| line.to_owned())?;
    let level = text("level").unwrap_or_default();
    ensure!(
        ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level),
        "no level: {line}"
    );
    ensure!(
        text("service").is_some_and(|name| !name.is_empty()),
        "no service: {line}"
    );
    ensure!(
        text("message").is_some_and(|text| !text.is_empty()),
        "no message: {line}"
    );
    if let Some(trace_id) = fields.get("trace_id") {
        let is_id = |id: &str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(trace_id.as_str().is_some_and(is_id), "no trace: {line}");
    }
    Ok(fields)
}

#[tokio::test]
async fn every_line_of_every_process_is_of_one_shape_and_names_its_trace() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    shop.start_host_with(&["--log-level".to_owned(), "debug".to_owned()])
        .await?;
    shop.start_relay(&[("SHOP_LOG_LEVEL", "debug")]).await?;
    let user = shop.anonymous()?.register().await?;
    let rose = user.rose().await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;

    // What goes wrong: a letter that dies, and a database that is away while somebody asks.
    shop.poison("payment_order_events").await?;
    eventually("the letter is dead", PATIENCE, async || {
        Ok((shop.count("select count(*) from bridge.dead_letters").await? == 1).then_some(()))
    })
    .await?;
    Server::Postgres.act("stop").await?;
    let request = user
        .request(Method::GET, "/api/orders")
        .header("traceparent", format!("00-{TRACE_ID}-00f067aa0ba902b7-01"))
        .json(&json!({}));
    let answer = user.send(request).await;
    Server::Postgres.act("start").await?;
    answer?.expect(503)?;
    shop.stop_relays().await?;
    shop.stop_host().await?;

    let mut lines = Vec::new();
    for process in ["host", "relay-0"] {
        for line in shop.whole_log(process)?.lines() {
            lines.push(read(line).with_context(|| process.to_owned())?);
        }
    }
    let of = |service: &str| lines.iter().filter(|line| line["service"] == service).count();
    ensure!(
        of("host-bridge") > 0 && of("ordering") > 0,
        "too few lines: {}",
        lines.len()
    );
    let told = |service: &str, message: &str| {
        let told = lines
            .iter()
            .filter(|line| line["service"] == service && line["message"] == message);
        told.collect::<Vec<_>>()
    };
    // Whoever hands events over meanwhile meets with the same.
    let unavailable = told("ordering", "store unavailable");
    ensure!(
        unavailable.iter().any(|line| line["trace_id"] == TRACE_ID),
        "{unavailable:?}"
    );
    ensure!(
        !told("payment", "dead letter").is_empty(),
        "nobody tells of the dead letter"
    );
    Ok(())
}
