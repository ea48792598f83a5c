//! The relays: how many rows a second two of them carry to the broker beside a publisher that does nothing else, and how
//! long a row takes from its writing until it is confirmed.

use super::queue::{Queue, WINDOW};
use super::stage::{Stage, drop_database};
use crate::generator::Connection;
use crate::pace::Pace;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, bounds, verdict};
use crate::statistics::{median, milliseconds, percentile};
use anyhow::{Context as _, Result, ensure};
use shop_tests::{Shop, eventually};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep};
use tokio_postgres::Client;

pub(super) const ROUTING_KEY: &str = "bench.happened";

/// The least and the wanted share of the bare publisher's rate.
const FLOOR: f64 = 0.6;
const AIM: f64 = 0.8;

/// The most that a row may take at half of the relays' rate, in the 99th percentile.
const PACED_AIM: Duration = Duration::from_millis(350);
/// The same of a row that comes alone, to a relay in a process of its own and to one that the host wakes.
const ALONE_AIM: Duration = Duration::from_millis(100);
const NUDGED_AIM: Duration = Duration::from_millis(10);

/// Rows of one key in a run.
const ROWS_OF_A_KEY: u64 = 10;

/// Who writes rows at a pace, and how many of them with each commit.
const WRITERS: u32 = 4;
const ROWS_OF_A_COMMIT: u32 = 10;

/// A body of 1 KiB.
const BODY_BYTES: i64 = 1024;

/// How long relays may take over their rows, or over sharing the partitions.
const PATIENCE: Duration = Duration::from_secs(600);

/// From one row to the next that comes alone: not in step with any clock of the relay.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(231),
    Duration::from_millis(373),
    Duration::from_millis(309),
    Duration::from_millis(257),
];

/// What the relay publishes ordering's row of this id as.
pub(super) fn message_id(id: u64) -> String {
    format!("ordering:{id}")
}

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let mut shop = Shop::prepare().await?;
    let queue = Queue::declare(&shop).await?;
    for _ in 0..2 {
        shop.start_relay(&[]).await?;
    }
    await_shares(&shop, 32).await?;
    let (mut relayed, mut published) = (Vec::new(), Vec::new());
    for round in 0..pace.long_rounds {
        // None of the two always follows the other.
        for relays in [round % 2 == 0, round % 2 == 1] {
            queue.renew().await?;
            if relays {
                relayed.push(relayed_per_second(&shop, &queue, pace.relay_rows).await?);
            } else {
                let body = "x".repeat(usize::try_from(BODY_BYTES)?);
                let took = queue.publish(pace.relay_rows, &body).await?;
                published.push(pace.relay_rows as f64 / took.as_secs_f64());
            }
        }
    }
    queue.renew().await?;
    let half = median(&relayed) / 2.0;
    let (written, paced) = paced(&shop, half, pace.stream).await?;
    shop.stop_relays().await?;
    shop.start_relay(&[]).await?;
    await_shares(&shop, 64).await?;
    let alone = alone(&shop, pace.lone_rows).await?;
    shop.stop_relays().await?;
    queue.remove().await?;
    drop_database(&shop).await?;
    let nudged = nudged(pace.lone_rows).await?;

    let shares: Vec<f64> = relayed
        .iter()
        .zip(&published)
        .map(|(ours, bare)| ours / bare)
        .collect();
    Ok(Section {
        text: explanation(pace, written),
        tables: vec![
            rates(&relayed, &published, &shares),
            latencies(&[
                ("at half of that rate", &paced, PACED_AIM),
                ("alone, a relay in a process of its own", &alone, ALONE_AIM),
                ("alone, a relay that the host wakes", &nudged, NUDGED_AIM),
            ]),
        ],
        ratios: vec![Ratio::new("two relays ÷ publisher", Better::Higher, &shares)],
    })
}

/// Waits until each relay has `count` partitions of each outbox, which is all that there are.
async fn await_shares(shop: &Shop, count: i64) -> Result<()> {
    let query = "select count(*) filter (where held = $1), coalesce(sum(held), 0)::int8 from (
            select count(*) as held from pg_locks
            where locktype = 'advisory' and objsubid = 2 and objid::int8 < 64 and granted
            and database = (select oid from pg_database where datname = current_database())
            group by pid, classid
        ) as shares";
    // Catalog, ordering, payment, delivery and the bridge's own.
    let outboxes = 5;
    let database = shop.database().await?;
    eventually("the relays have shared the partitions", PATIENCE, async || {
        let row = database.query_one(query, &[&count]).await?;
        let (shares, held): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok((shares == outboxes * 64 / count && held == outboxes * 64).then_some(()))
    })
    .await
}

/// Writes `rows` rows of `keys` keys in turns, which are due in `due_in` seconds.
async fn write(client: &Client, rows: u64, keys: u64, due_in: f64) -> Result<()> {
    let statement = include_str!("sql/outbox_rows.sql");
    let (rows, keys) = (i64::try_from(rows)?, i64::try_from(keys)?);
    client
        .execute(statement, &[&rows, &keys, &due_in, &ROUTING_KEY, &BODY_BYTES])
        .await?;
    Ok(())
}

/// Rows that wait and are due all at once: how many of them are confirmed in a second, until the last of them is.
async fn relayed_per_second(shop: &Shop, queue: &Queue, rows: u64) -> Result<f64> {
    let client = shop.database().await?;
    client.batch_execute("truncate ordering.outbox_messages").await?;
    // Time enough to write them, and to have nothing left to do when they are due.
    let due_in = 5.0 + rows as f64 / 10_000.0;
    write(&client, rows, rows / ROWS_OF_A_KEY, due_in).await?;
    for statement in ["vacuum analyze ordering.outbox_messages", "checkpoint"] {
        client.batch_execute(statement).await?;
    }
    let early = "select min(due_at) > now() from ordering.outbox_messages";
    ensure!(
        client.query_one(early, &[]).await?.try_get::<_, bool>(0)?,
        "the rows were due before all were written"
    );
    await_marked(&client, Duration::from_millis(500)).await?;
    queue.expect_in_order(rows).await?;
    let rate = "select count(*) / extract(epoch from max(processed_at) - min(due_at))::float8
        from ordering.outbox_messages";
    Ok(client.query_one(rate, &[]).await?.try_get(0)?)
}

/// Waits until every row is marked, without being much of a load: the last row first.
async fn await_marked(client: &Client, pause: Duration) -> Result<()> {
    let last = "select processed_at is not null from ordering.outbox_messages order by id desc limit 1";
    let any = "select exists (select from ordering.outbox_messages where processed_at is null)";
    let marked = async {
        loop {
            if client.query_one(last, &[]).await?.try_get(0)? {
                let open: bool = client.query_one(any, &[]).await?.try_get(0)?;
                if !open {
                    return Ok(());
                }
            }
            sleep(pause).await;
        }
    };
    tokio::time::timeout(PATIENCE, marked)
        .await
        .context("the relays do not come to an end")?
}

/// Rows that are committed at a pace: how many a second there really were, and what each took.
async fn paced(shop: &Shop, rate: f64, duration: Duration) -> Result<(f64, Vec<Duration>)> {
    let client = shop.database().await?;
    client.batch_execute("truncate ordering.outbox_messages").await?;
    client.batch_execute("checkpoint").await?;
    let period = Duration::from_secs_f64(f64::from(WRITERS * ROWS_OF_A_COMMIT) / rate);
    let commits = (duration.as_secs_f64() / period.as_secs_f64()).ceil() as u32;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = shop.database().await?;
        writers.spawn(async move {
            sleep(period * writer / WRITERS).await;
            let mut ticks = tokio::time::interval(period);
            // Who is late catches up: the pace is not the relays' to set.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for _ in 0..commits {
                ticks.tick().await;
                let rows = u64::from(ROWS_OF_A_COMMIT);
                write(&client, rows, rows, 0.0).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.context("a writer panicked")??;
    }
    await_marked(&client, Duration::from_millis(500)).await?;
    let written = "select count(*) / extract(epoch from max(due_at) - min(due_at))::float8
        from ordering.outbox_messages";
    let written = client.query_one(written, &[]).await?.try_get(0)?;
    Ok((written, taken(&client, "BenchHappened", 0).await?))
}

/// Rows that come one at a time to relays with nothing else to do.
async fn alone(shop: &Shop, count: usize) -> Result<Vec<Duration>> {
    let client = shop.database().await?;
    client.batch_execute("truncate ordering.outbox_messages").await?;
    for pause in PAUSES.into_iter().cycle().take(count) {
        sleep(pause).await;
        write(&client, 1, 1, 0.0).await?;
    }
    await_marked(&client, Duration::from_millis(100)).await?;
    taken(&client, "BenchHappened", 0).await
}

/// Orders, one at a time, in a process that serves and relays: of each the row that tells of it.
async fn nudged(count: usize) -> Result<Vec<Duration>> {
    let stage = Stage::set().await?;
    let client = stage.shop.database().await?;
    stage.await_quiet(PATIENCE).await?;
    let old = client
        .query_one("select coalesce(max(id), 0) from ordering.outbox_messages", &[])
        .await?;
    let old: i64 = old.try_get(0)?;
    let order = stage.order()?;
    let mut connection = Connection::open(stage.gateway).await?;
    for pause in PAUSES.into_iter().cycle().take(count) {
        sleep(pause).await;
        connection.send(&order).await?;
    }
    stage.await_quiet(PATIENCE).await?;
    let taken = taken(&client, "OrderCreated", old).await?;
    drop(client);
    stage.strike().await?;
    ensure!(taken.len() == count, "{} rows of {count} orders", taken.len());
    Ok(taken)
}

/// From the beginning of the statement that wrote a row, whose commit belongs to it, until its confirm was in; of rows with an id above `after`.
async fn taken(client: &Client, event_type: &str, after: i64) -> Result<Vec<Duration>> {
    let statement = "select extract(epoch from processed_at - due_at)::float8 from ordering.outbox_messages
        where event_type = $1 and id > $2 and processed_at is not null";
    let rows = client.query(statement, &[&event_type, &after]).await?;
    rows.iter()
        .map(|row| Ok(Duration::try_from_secs_f64(row.try_get(0)?)?))
        .collect()
}

fn rates(relayed: &[f64], published: &[f64], shares: &[f64]) -> Table {
    let mut table = Table::new(&[
        "",
        "messages/s",
        "÷ publisher",
        "lowest to highest round",
        "floor",
        "kept",
        "aim",
        "reached",
    ]);
    let share = median(shares);
    table.row([
        "two relays, from rows in the outbox".to_owned(),
        format!("**{:.0}**", median(relayed)),
        format!("**{share:.2}**"),
        bounds(shares),
        format!("{FLOOR:.2}"),
        verdict(share >= FLOOR).to_owned(),
        format!("{AIM:.2}"),
        verdict(share >= AIM).to_owned(),
    ]);
    let bare = ["a bare publisher".to_owned(), format!("{:.0}", median(published))];
    table.row(bare.into_iter().chain(std::iter::repeat_n(String::new(), 6)));
    table
}

fn latencies(rows: &[(&str, &[Duration], Duration)]) -> Table {
    let mut table = Table::new(&["written → confirmed", "p50, ms", "p99, ms", "aim, ms", "reached"]);
    for (name, taken, aim) in rows {
        let worst = percentile(taken, 0.99);
        table.row([
            (*name).to_owned(),
            format!("{:.1}", milliseconds(percentile(taken, 0.5))),
            format!("**{:.1}**", milliseconds(worst)),
            format!("{:.0}", milliseconds(*aim)),
            verdict(worst < *aim).to_owned(),
        ]);
    }
    table
}

fn explanation(pace: &Pace, written: f64) -> String {
    format!(
        "{} rows of 1 KiB wait in ordering's outbox ({ROWS_OF_A_KEY} of each key, in turns) and are due at the same \
         moment; the clock stops when the last of them is confirmed and marked. Two processes `host-bridge relay` share \
         the partitions, with windows of {WINDOW} as they are by default: of each outbox a relay has up to two under \
         way. The publisher has one lapin connection and at most {WINDOW} messages unconfirmed, each as large and with \
         the same properties, to the same exchange with `mandatory`. A quorum queue of the kind that the bridge \
         declares takes them, with nobody behind it; it is made anew for each of {} runs of each side, in turns. After \
         each run of the relays it is read: every row is there, and those of each key are in order.\n\n\
         The times begin with the statement that writes a row, whose commit is part of them, and end when the confirm \
         is in. *Half of that rate*: {WRITERS} writers commit {ROWS_OF_A_COMMIT} rows at a time, {written:.0} a second \
         for {:.0} s, to both relays. *Alone*: {} rows, one at a time, with nothing else to do; the host wakes the \
         relay in its process (`host-bridge up`) when an order was posted.",
        pace.relay_rows,
        pace.long_rounds,
        pace.stream.as_secs_f64(),
        pace.lone_rows,
    )
}
