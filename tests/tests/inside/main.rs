//! The shop from the inside: what stands in the tables and at the broker, events handed over by hand, and faults.
//! Each test has a shop of its own; they run one after another, for some of them stop the servers below.

mod alerts;
mod audit;
mod authorisation;
mod chaos;
mod cluster;
mod contract;
mod crash_points;
mod deadlines;
mod description;
mod documents;
mod events;
mod faults;
mod gateway;
mod grants;
mod logs;
mod operator;
mod overload;
mod plans;
mod provider;
mod races;
mod relays;
mod reservations;
mod rolling;
mod secrets;
mod sign_in;
mod signing_keys;
mod status;
mod steps;
mod swap;
mod timing;
mod torture;
mod traces;

use anyhow::{Context, Result};
use contracts::{EventId, FlowerChanged, FlowerId, Money, OrderId};
use serde_json::Value;
use shop_tests::events::{cloud_event, hand_over, unix_now};
use shop_tests::{Actor, Shop};
use tokio::sync::{Mutex, MutexGuard};

static ALONE: Mutex<()> = Mutex::const_new(());

/// Waits until no other test of this binary runs.
async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// Hands events to a service as the bridge would, and gives the outcomes in the order of the ids that were sent.
async fn tell(shop: &Shop, service: &str, events: &[Value]) -> Result<Vec<String>> {
    let answer = hand_over(
        &shop.anonymous_at(service)?,
        &shop.events_key()?,
        service,
        events,
        unix_now(),
    )
    .await?;
    let body = answer.expect(200)?;
    let results = body["results"].as_array().context("no results")?;
    let outcome = |event: &Value| {
        let result = results.iter().find(|result| result["id"] == event["id"]);
        result
            .and_then(|result| result["outcome"].as_str())
            .map(str::to_owned)
            .context("an event without outcome")
    };
    events.iter().map(outcome).collect()
}

/// A user's order in a shop without relays, so that nothing happens to it but what a test tells.
async fn place_order(shop: &Shop) -> Result<(Actor, OrderId)> {
    let user = shop.anonymous()?.register().await?;
    let flower_id = FlowerId::new();
    let flower = FlowerChanged {
        flower_id,
        version: 1,
        name: "Rose".to_owned(),
        price: Money::rub(15_000)?,
        deleted: false,
    };
    tell(shop, "ordering", &[cloud_event(EventId::new(), &flower.into())?]).await?;
    let order = user.order(&flower_id.to_string(), 1).await?.expect(201)?;
    Ok((
        user,
        order["id"].as_str().context("an order without id")?.parse()?,
    ))
}
