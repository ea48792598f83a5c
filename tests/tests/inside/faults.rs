//! Processes killed, servers stopped and paused: nothing acknowledged is lost, and nothing happens twice.

use crate::alone;
use anyhow::{Context, Result, ensure};
use shop_tests::environment::Server;
use shop_tests::spin;
use shop_tests::{Actor, Shop, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a disturbed shop may take to become quiet again.
const PATIENCE: Duration = Duration::from_secs(120);

/// The gaps at which a crash could lose or double something.
const GAPS: [&str; 4] = [
    "relay.polled",
    "relay.published",
    "relay.confirmed",
    "shuttle.read",
];

/// A rose of the demo, and a user who can order it.
async fn customer(shop: &Shop) -> Result<(Actor, String)> {
    let (user, admin) = (
        shop.anonymous()?.register().await?,
        shop.anonymous()?.admin().await?,
    );
    // More than all customers together can buy.
    let rose = admin.add_flower("Rose for everybody", "150.00").await?;
    user.order_once_known(&rose, "pm_card_visa")
        .await
        .with_context(|| shop.log("relay-0"))?;
    Ok((user, rose))
}

/// Waits until every order is on its way, and checks that each was paid and shipped once and no event is dead.
async fn expect_each_shipped_once(shop: &Shop, orders: i64) -> Result<()> {
    let all = shop.count("select count(*) from ordering.orders").await?;
    ensure!(
        all >= orders,
        "{orders} orders were acknowledged, {all} are there"
    );
    eventually("every order is on its way", PATIENCE, async || {
        let open = shop
            .count("select count(*) from ordering.orders where status <> 'shipping'")
            .await?;
        Ok((open == 0).then_some(()))
    })
    .await
    .with_context(|| shop.log("relay-0"))?;
    for (what, query) in [
        (
            "payments",
            "select count(*) from payment.payments where status = 'completed'",
        ),
        ("charges", "select count(*) from payment_provider.charges"),
        (
            "paid orders",
            "select count(distinct order_id) from payment.payments",
        ),
        ("shipments", "select count(*) from delivery.shipments"),
        (
            "shipped orders",
            "select count(distinct order_id) from delivery.shipments",
        ),
    ] {
        assert_eq!(shop.count(query).await?, all, "{what}");
    }
    assert_eq!(
        shop.count("select count(*) from ordering.order_history").await?,
        3 * all,
        "changes of status"
    );
    assert_eq!(
        shop.count("select count(*) from bridge.dead_letters").await?,
        0,
        "dead letters"
    );
    shop.expect_clean_audit().await?;
    Ok(())
}

#[tokio::test]
async fn a_relay_killed_twenty_times_at_each_gap_loses_and_doubles_nothing() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::start().await?;
    let (user, rose) = customer(&shop).await?;
    shop.stop_relays().await?;
    for round in 0..20 {
        for _ in 0..10 {
            user.order(&rose, 1).await?.expect(201)?;
        }
        for gap in GAPS {
            shop.start_relay(&[("SHOP_CRASH_AT", gap)]).await?;
            let relay = shop.relays().last_mut().context("no relay")?;
            let status = tokio::time::timeout(PATIENCE, relay.wait())
                .await
                .with_context(|| format!("round {round}: the relay never came to {gap}"))??;
            ensure!(
                std::os::unix::process::ExitStatusExt::signal(&status) == Some(9),
                "{gap}: {status}"
            );
            shop.relays().clear();
        }
    }
    shop.start_relay(&[]).await?;
    expect_each_shipped_once(&shop, 201).await
}

/// Places an order every 50 ms until `stop`; counts those that the shop acknowledged. `may_fail` says whether a 503
/// is an answer to bear.
fn customers(user: &Actor, rose: &str, stop: &Arc<AtomicBool>, may_fail: bool) -> JoinSet<Result<i64>> {
    let mut customers = JoinSet::new();
    for _ in 0..2 {
        let (user, rose, stop) = (user.clone(), rose.to_owned(), Arc::clone(stop));
        customers.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(50));
            let mut acknowledged = 0;
            while !stop.load(Ordering::Relaxed) {
                pace.tick().await;
                let answer = user.order(&rose, 1).await?;
                match answer.status.as_u16() {
                    201 => acknowledged += 1,
                    503 if may_fail => ensure!(
                        !answer.header("retry-after").is_empty(),
                        "503 without Retry-After"
                    ),
                    _ => anyhow::bail!("{}: {}", answer.status, answer.text),
                }
            }
            Ok(acknowledged)
        });
    }
    customers
}

async fn acknowledged(customers: JoinSet<Result<i64>>) -> Result<i64> {
    let counts = customers
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    Ok(counts.into_iter().sum())
}

/// Lets the customers go on for a while: the length of the fault itself.
async fn for_a_while(seconds: u64) {
    tokio::time::interval_at(
        tokio::time::Instant::now() + Duration::from_secs(seconds),
        Duration::from_secs(1),
    )
    .tick()
    .await;
}

#[tokio::test]
async fn a_broker_that_is_away_changes_nothing_for_clients_and_orders_flow_on_when_it_is_back() -> Result<()>
{
    let _alone = alone().await;
    let shop = Shop::start().await?;
    let (user, rose) = customer(&shop).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let customers = customers(&user, &rose, &stop, false);
    Server::Rabbitmq.act("stop").await?;
    for_a_while(10).await;
    let started = Server::Rabbitmq.act("start").await;
    stop.store(true, Ordering::Relaxed);
    started?;
    let acknowledged = acknowledged(customers).await?;
    ensure!(acknowledged > 50, "only {acknowledged} orders were placed");
    expect_each_shipped_once(&shop, acknowledged).await
}

#[tokio::test]
async fn a_database_that_restarts_loses_no_acknowledged_order_and_is_missed_for_at_most_five_seconds()
-> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start().await?;
    let (user, rose) = customer(&shop).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let customers = customers(&user, &rose, &stop, true);
    for_a_while(2).await;
    Server::Postgres.act("restart").await?;
    let back = Instant::now();
    eventually("the shop is healthy again", Duration::from_secs(30), async || {
        Ok((user.get("/health").await?.json()["status"] == "healthy").then_some(()))
    })
    .await?;
    ensure!(
        back.elapsed() < Duration::from_secs(5),
        "healthy only after {:?}",
        back.elapsed()
    );
    for_a_while(2).await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = acknowledged(customers).await?;
    expect_each_shipped_once(&shop, acknowledged).await
}

#[tokio::test]
async fn a_database_that_is_away_is_503_with_retry_after() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start().await?;
    let (user, _) = customer(&shop).await?;
    Server::Postgres.act("stop").await?;
    let answer = user.get("/api/orders").await;
    let health = user.get("/health").await;
    let live = user.get("/health/live").await;
    Server::Postgres.act("start").await?;
    let answer = answer?;
    answer.expect_problem(503, "unavailable")?;
    ensure!(!answer.header("retry-after").is_empty(), "no Retry-After");
    let health = health?.expect(200)?;
    assert_eq!(health["status"], "degraded");
    assert_ne!(health["checks"]["ordering"], "ok");
    live?.expect(200)?;
    let served = async || Ok((user.get("/api/orders").await?.status == 200).then_some(()));
    eventually("orders are served again", Duration::from_secs(5), served).await
}

/// Reads and writes the catalog as if nothing were wrong.
async fn use_the_catalog(anybody: &Actor, admin: &Actor) -> Result<()> {
    let id = admin.add_flower("Rose without a cache", "150.00").await?;
    let path = format!("/api/catalog/flowers/{id}");
    for amount in ["1.00", "2.00"] {
        let price = serde_json::json!({"price": {"amount": amount, "currency": "RUB"}});
        admin.patch(&path, &price).await?.expect(200)?;
        for _ in 0..5 {
            let start = Instant::now();
            let flower = anybody.get(&path).await?.expect(200)?;
            assert_eq!(flower["price"]["amount"], amount);
            ensure!(
                start.elapsed() < Duration::from_secs(2),
                "a read took {:?}",
                start.elapsed()
            );
        }
        anybody.get("/api/catalog/flowers?limit=5").await?.expect(200)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cache_that_is_stopped_or_paused_costs_speed_and_nothing_else() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    shop.start_host().await?;
    let (anybody, admin) = (shop.anonymous()?, shop.anonymous()?.admin().await?);
    use_the_catalog(&anybody, &admin).await?;
    for (fault, remedy) in [("stop", "start"), ("pause", "resume")] {
        Server::Redis.act(fault).await?;
        let used = use_the_catalog(&anybody, &admin).await;
        let health = anybody.get("/catalog/health").await;
        Server::Redis.act(remedy).await?;
        used.with_context(|| format!("Redis: {fault}"))?;
        let health = health?.expect(200)?;
        assert_eq!(
            (&health["status"], &health["checks"]["redis"]),
            (&"healthy".into(), &"degraded".into())
        );
        use_the_catalog(&anybody, &admin).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bridge_told_to_stop_ends_in_order_and_cuts_nothing_off() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::start().await?;
    let (user, rose) = customer(&shop).await?;
    for _ in 0..20 {
        user.order(&rose, 1).await?.expect(201)?;
    }
    shop.stop_relays().await?;
    let slow = tokio::spawn({
        let anybody = shop.anonymous()?;
        async move { anybody.register().await }
    });
    let host = shop.host().context("no host")?;
    shop_tests::shop::signal(host, "TERM").await?;
    let status = tokio::time::timeout(PATIENCE, host.wait())
        .await
        .context("the host does not drain")??;
    ensure!(status.success(), "{status}");
    // Either it was answered in full or it never got in: nothing between, save in Spin, which drains nothing.
    if let Err(error) = slow.await? {
        let cut_off = format!("{error:#}").contains("IncompleteMessage");
        ensure!(!cut_off || spin::program().is_some(), "{error:#}");
    }
    shop.start_host().await?;
    shop.start_relay(&[]).await?;
    expect_each_shipped_once(&shop, 21).await
}

#[tokio::test]
async fn a_service_whose_tables_are_not_there_is_unwell_until_they_are() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start().await?;
    let (user, rose) = customer(&shop).await?;
    let database = shop.database_of("delivery").await?;
    database
        .batch_execute("alter schema delivery rename to elsewhere")
        .await?;
    let anybody = shop.anonymous()?;
    eventually("delivery is unwell", PATIENCE, async || {
        let health = anybody.get("/health").await?.json();
        let said = health["checks"]["delivery"].as_str();
        Ok(said.is_some_and(|said| said != "ok").then_some(()))
    })
    .await?;
    let order = user.order(&rose, 1).await?.expect(201)?;
    let order = order["id"].as_str().context("no id")?;
    user.await_status(order, "payment_completed").await?;
    database
        .batch_execute("alter schema elsewhere rename to delivery")
        .await?;
    shop.await_healthy().await?;
    user.await_status(order, "shipping").await?;
    assert_eq!(shop.count("select count(*) from bridge.dead_letters").await?, 0);
    Ok(())
}
