//! A rolling deployment: a new version of one component beside old ones, on a schema that is new already, and back.

use crate::alone;
use anyhow::{Context, Result, ensure};
use shop_tests::crowd::Crowd;
use shop_tests::environment::root;
use shop_tests::swappable::Files;
use shop_tests::{Shop, eventually};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 3;

/// What the next release's migrations might add: nothing that is there changes, so that old components go on.
const EXPANSION: &str = "
    alter table ordering.orders add column gift_note text, add column gift_wrapped boolean not null default false;
    alter table ordering.order_items add column discount_minor bigint not null default 0;
    alter table ordering.inbox add column seen_by text;
    alter table payment.payments add column receipt text;
    alter table payment.orders add column note text;
    alter table catalog.flowers add column colour text not null default 'red';
    alter table catalog.reservations add column warehouse text;
    alter table delivery.shipments add column carrier text not null default 'own';
    alter table auth.users add column locale text;
    create table ordering.gift_cards (id uuid primary key, order_id uuid not null references ordering.orders (id))";

/// The file of a component, below `target`.
fn built(folder: &str, component: &str) -> Result<Vec<u8>> {
    let file = root().join(format!("target/{folder}/{component}.wasm"));
    std::fs::read(&file).with_context(|| file.display().to_string())
}

fn old(component: &str) -> Result<Vec<u8>> {
    built("components", component)
}

/// That of the next release.
fn next(component: &str) -> Result<Vec<u8>> {
    built("next-release/wasm32-wasip2/wasm", component)
}

/// Waits until every order that there is now has shipped.
async fn all_shipped(shop: &Shop) -> Result<()> {
    let last = "select max(created_at)::text from ordering.orders";
    let last: String = shop.database().await?.query_one(last, &[]).await?.try_get(0)?;
    let waiting =
        format!("select count(*) from ordering.orders where created_at <= '{last}' and status <> 'shipping'");
    eventually("all orders have shipped", PATIENCE, async || {
        Ok((shop.count(&waiting).await? == 0).then_some(()))
    })
    .await
}

#[tokio::test]
async fn new_versions_roll_out_beside_old_ones_and_back_and_nothing_is_lost() -> Result<()> {
    let _alone = alone().await;
    let (shop, files) = Files::start(&[]).await?;
    let anybody = shop.anonymous()?;
    let rose = anybody
        .admin()
        .await?
        .add_flower("Rolling rose", "150.00")
        .await?;
    let first = anybody.register().await?;
    first.order_once_known(&rose, "pm_card_visa").await?;
    let crowd = Crowd::come(&anybody, &rose, CLIENTS).await?;

    // The schema first, while all components are old.
    let database = shop.database().await?;
    for statement in EXPANSION.split(';') {
        // Each by itself, as services migrate: together they would lock tables in an order of their own.
        database.batch_execute(statement).await?;
    }
    all_shipped(&shop).await?;

    // A producer before its consumer: what it tells waits.
    files.swap(&shop, "payment", &next("payment")?).await?;
    eventually("an event of a newer version waits", PATIENCE, async || {
        let log = shop.whole_log("host")?;
        Ok(log.contains("event of a newer version waits").then_some(()))
    })
    .await?;
    let waiting = "select count(*) from ordering.orders where status = 'created'";
    ensure!(shop.count(waiting).await? > 0, "nothing waits");
    files.swap(&shop, "ordering", &next("ordering")?).await?;
    all_shipped(&shop).await?;
    let newer = "select count(*) from payment.outbox_messages
        where event_type = 'PaymentCompleted' and payload -> 'data' ->> 'receipt' is not null";
    ensure!(shop.count(newer).await? > 0, "nobody told of a receipt");

    // And back: the producer first; once all that it told is handled, the consumer.
    files.swap(&shop, "payment", &old("payment")?).await?;
    all_shipped(&shop).await?;
    files.swap(&shop, "ordering", &old("ordering")?).await?;

    let orders = crowd.go().await?;
    shop.await_shipped(&orders).await?;
    shop.expect_clean_audit().await?;
    assert_eq!(shop.count("select count(*) from bridge.dead_letters").await?, 0);
    Ok(())
}
