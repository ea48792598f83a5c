//! A rolling deployment: a new version of one component beside old ones, on a schema that is new already, and back.

use crate::alone;
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use shop_tests::environment::root;
use shop_tests::swappable::Files;
use shop_tests::{Actor, Shop, eventually};
use std::time::Duration;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 3;
/// Between two orders of a client: what is held up must be able to catch up.
const PAUSE: Duration = Duration::from_millis(20);

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

/// Orders until it is told to stop. Gives the orders.
async fn order_on(user: Actor, rose: String, mut stop: watch::Receiver<bool>) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    while !*stop.borrow_and_update() {
        let order = user.order(&rose, 1).await?.expect(201)?;
        orders.push(order["id"].as_str().context("no id")?.to_owned());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(orders)
}

/// The file of a component, below `target`.
fn built(folder: &str, component: &str) -> Result<Vec<u8>> {
    let file = root().join(format!("target/{folder}/wasm/{component}.wasm"));
    std::fs::read(&file).with_context(|| file.display().to_string())
}

fn old(component: &str) -> Result<Vec<u8>> {
    built("wasm32-wasip2", component)
}

/// That of the next release.
fn next(component: &str) -> Result<Vec<u8>> {
    built("next-release/wasm32-wasip2", component)
}

async fn swap(shop: &Shop, files: &Files, component: &str, bytes: &[u8]) -> Result<()> {
    let done = shop.swaps(component, "done").await?;
    files.put(component, bytes)?;
    shop.ask_to_swap().await?;
    shop.await_swaps(component, "done", done + 1).await
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
    let (stop, stopped) = watch::channel(false);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let user = anybody.register().await?;
        clients.push(tokio::spawn(order_on(user, rose.clone(), stopped.clone())));
    }

    // The schema first, while all components are old.
    let database = shop.database().await?;
    for statement in EXPANSION.split(';') {
        // Each by itself, as services migrate: together they would lock tables in an order of their own.
        database.batch_execute(statement).await?;
    }
    all_shipped(&shop).await?;

    // A producer before its consumer: what it tells waits.
    swap(&shop, &files, "payment", &next("payment")?).await?;
    eventually("an event of a newer version waits", PATIENCE, async || {
        let log = shop.whole_log("host")?;
        Ok(log.contains("event of a newer version waits").then_some(()))
    })
    .await?;
    let waiting = "select count(*) from ordering.orders where status = 'created'";
    ensure!(shop.count(waiting).await? > 0, "nothing waits");
    swap(&shop, &files, "ordering", &next("ordering")?).await?;
    all_shipped(&shop).await?;
    let newer = "select count(*) from payment.outbox_messages
        where event_type = 'PaymentCompleted' and payload -> 'data' ->> 'receipt' is not null";
    ensure!(shop.count(newer).await? > 0, "nobody told of a receipt");

    // And back: the producer first; once all that it told is handled, the consumer.
    swap(&shop, &files, "payment", &old("payment")?).await?;
    all_shipped(&shop).await?;
    swap(&shop, &files, "ordering", &old("ordering")?).await?;

    stop.send(true)?;
    let orders = try_join_all(clients).await?;
    let orders = orders.into_iter().collect::<Result<Vec<_>>>()?.concat();
    ensure!(orders.len() > CLIENTS, "only {} orders were placed", orders.len());
    shop.await_shipped(&orders).await?;
    shop.expect_clean_audit().await?;
    assert_eq!(shop.count("select count(*) from bridge.dead_letters").await?, 0);
    Ok(())
}
