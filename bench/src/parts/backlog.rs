//! After an outage: relays find a great many orders that wait. How fast they go, and how long a customer who comes just
//! then waits for an answer.

use super::copies::{ALL, Owner, Template};
use super::stage::Stage;
use super::stream::Stream;
use crate::generator::{Connection, Target};
use crate::pace::Pace;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, verdict};
use crate::statistics::{milliseconds, percentile};
use anyhow::{Context as _, Result, ensure};
use shop_tests::Shop;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot::{self, Receiver};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep};

/// The least share of the undisturbed stream's rate.
const FLOOR: f64 = 0.7;

/// The most that `POST /orders` may take meanwhile, in the 99th percentile.
const AIM: Duration = Duration::from_millis(100);

/// From one order of the customers who come meanwhile to the next.
const PAUSE: Duration = Duration::from_millis(100);

/// The drained orders are counted so often: seldom, for there are many.
const LOOK: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3600);

/// An outage longer than the payment deadline ends in cancelled orders, not in a backlog.
const DEADLINE: &str = "--variable=payment_deadline_seconds=86400";

/// What the drain came to.
struct Drain {
    /// Orders that shipped, those included that came meanwhile.
    shipped: i64,
    elapsed: Duration,
    /// Of the orders that came meanwhile.
    latencies: Vec<Duration>,
}

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let mut shop = Shop::prepare().await?;
    shop.start_host_with(&[DEADLINE.to_owned()]).await?;
    shop.start_relay(&[]).await?;
    let mut stage = Stage::of(shop).await?;
    let undisturbed = Stream::run(&stage, pace.stream).await?;

    stage.shop.stop_relays().await?;
    let placed = Connection::open(stage.gateway)
        .await?
        .send_json(&stage.order()?)
        .await?;
    let order = placed["id"].as_str().context("an order without id")?;
    let mut database = stage.shop.database().await?;
    let template = Template::find(&database, order).await?;
    template
        .copy(&mut database, pace.backlog - 1, &ALL, Owner::TheSame)
        .await?;
    // As autovacuum would have done while they came one by one.
    database.batch_execute("analyze; checkpoint").await?;
    drop(database);
    let drain = drain(&mut stage, pace.backlog).await?;
    stage.shop.stop_relays().await?;
    stage.strike().await?;

    let rate = drain.shipped as f64 / drain.elapsed.as_secs_f64();
    let share = rate / undisturbed.shipped;
    let worst = percentile(&drain.latencies, 0.99);
    let mut table = Table::new(&["", "", "asked", "kept"]);
    let mut row = |name: &str, value: String, asked: String, kept: &str| {
        table.row([name.to_owned(), value, asked, kept.to_owned()]);
    };
    let none = String::new;
    row(
        "undisturbed stream, orders/s",
        format!("{:.0}", undisturbed.shipped),
        none(),
        "",
    );
    row("draining, orders/s", format!("**{rate:.0}**"), none(), "");
    row(
        "÷ undisturbed",
        format!("**{share:.2}**"),
        format!("≥ {FLOOR}"),
        verdict(share >= FLOOR),
    );
    let median = milliseconds(percentile(&drain.latencies, 0.5));
    row(
        "`POST /orders` meanwhile, p50, ms",
        format!("{median:.1}"),
        none(),
        "",
    );
    row(
        "`POST /orders` meanwhile, p99, ms",
        format!("**{:.1}**", milliseconds(worst)),
        format!("< {:.0}", milliseconds(AIM)),
        verdict(worst < AIM),
    );
    Ok(Section {
        text: format!(
            "A process that serves and a relay of its own. First an undisturbed stream as above, for {:.0} s. Then the \
             relay is stopped until {} orders wait, and started again: it took {:.0} s until all of them were \
             `shipping`. The orders are copies, in SQL, of one that was posted after the relay had stopped: all rows \
             that it left (order, item, history, OrderCreated and the timer of its deadline) with ids of their own. \
             The deadline is a day here, or orders of a long outage would be cancelled. While they drain, customers \
             post {:.0} orders a second through the gateway whether or not they are answered in time ({} in all, which \
             count as drained too); an order's time begins when it should have been posted.",
            pace.stream.as_secs_f64(),
            pace.backlog,
            drain.elapsed.as_secs_f64(),
            1.0 / PAUSE.as_secs_f64(),
            drain.latencies.len(),
        ),
        tables: vec![table],
        ratios: vec![Ratio::new("draining ÷ undisturbed", Better::Higher, &[share])],
    })
}

/// Starts a relay and waits until the orders that wait, `waiting` in number, have shipped.
async fn drain(stage: &mut Stage, waiting: u64) -> Result<Drain> {
    let shipping = "select count(*) from ordering.orders where status = 'shipping'";
    let before = stage.shop.count(shipping).await?;
    let database = stage.shop.database().await?;
    let last = "select max(created_at) from ordering.orders";
    let last: SystemTime = database.query_one(last, &[]).await?.try_get(0)?;
    let left = "select count(*) from ordering.orders
        where status in ('created', 'payment_completed') and created_at <= $1";
    let (stop, stopped) = oneshot::channel();
    let customers = tokio::spawn(customers(stage.order()?, stopped));
    let started = Instant::now();
    stage.shop.start_relay(&[]).await?;
    while database.query_one(left, &[&last]).await?.try_get::<_, i64>(0)? > 0 {
        ensure!(started.elapsed() < PATIENCE, "orders still wait");
        sleep(LOOK).await;
    }
    let elapsed = started.elapsed();
    let shipped = database.query_one(shipping, &[]).await?.try_get::<_, i64>(0)? - before;
    // Fails only if the customers have given up, which the next line tells.
    let _ = stop.send(());
    let latencies = customers.await.context("the customers panicked")??;
    ensure!(
        u64::try_from(shipped)? >= waiting,
        "{shipped} orders shipped of {waiting}"
    );
    Ok(Drain {
        shipped,
        elapsed,
        latencies,
    })
}

/// Posts `order` at a pace of its own, however long the answers take, until `stopped`.
async fn customers(order: Target, mut stopped: Receiver<()>) -> Result<Vec<Duration>> {
    let (mut free, mut waiting) = (Vec::new(), JoinSet::new());
    let mut latencies = Vec::new();
    let mut ticks = tokio::time::interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            due = ticks.tick() => {
                let connection: Option<Connection> = free.pop();
                let order = order.clone();
                waiting.spawn(async move {
                    let mut connection = match connection {
                        Some(connection) => connection,
                        None => Connection::open(order.address).await?,
                    };
                    connection.send(&order).await?;
                    anyhow::Ok((connection, due.elapsed()))
                });
            }
            Some(answered) = waiting.join_next() => {
                let (connection, taken) = answered.context("a customer panicked")??;
                free.push(connection);
                latencies.push(taken);
            }
            _ = &mut stopped => break,
        }
    }
    while let Some(answered) = waiting.join_next().await {
        latencies.push(answered.context("a customer panicked")??.1);
    }
    Ok(latencies)
}
