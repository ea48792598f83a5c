//! A sustained stream: clients order as fast as they are answered, and what counts is how many orders ship in the time
//! until the last of them has.

use super::pgbench::Pgbench;
use super::stage::{Stage, drop_database};
use crate::generator::{CONNECTIONS, load};
use crate::pace::Pace;
use crate::process;
use crate::report::{Section, Table};
use crate::statistics::{milliseconds, percentile};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How long the last order may take to ship after the stream has ended.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let mut stage = Stage::set().await?;
    let before = stage.await_quiet(PATIENCE).await?;
    stage.shop.database().await?.batch_execute("checkpoint").await?;
    let used = process::cpu_time(stage.pid)?;
    let started = Instant::now();
    let posted = load(stage.order()?, stage.pid, Duration::ZERO, pace.stream).await?;
    let shipped = stage.await_quiet(PATIENCE).await? - before;
    let elapsed = started.elapsed();
    let cpu = process::cpu_time(stage.pid)?.saturating_sub(used);
    ensure!(
        usize::try_from(shipped)? == posted.latencies.len(),
        "{shipped} orders shipped of {}",
        posted.latencies.len()
    );
    // Without a relay, so that what pgbench writes goes nowhere.
    stage.shop.stop_host().await?;
    let alone = match Pgbench::find() {
        Some(pgbench) => Some(pgbench.orders_per_second(&stage.shop, pace.pgbench).await?),
        None => None,
    };
    drop_database(&stage.shop).await?;

    let rate = shipped as f64 / elapsed.as_secs_f64();
    let mut table = Table::new(&["", "orders/s", "÷ pgbench"]);
    let share = |rate: f64| {
        alone.map_or_else(
            || "no pgbench here".to_owned(),
            |alone| format!("{:.2}", rate / alone),
        )
    };
    table.row([
        "POST to `shipping`".to_owned(),
        format!("**{rate:.0}**"),
        share(rate),
    ]);
    table.row([
        "accepted while clients post".to_owned(),
        format!("{:.0}", posted.rate()),
        share(posted.rate()),
    ]);
    if let Some(alone) = alone {
        table.row([
            "pgbench, the order statement alone".to_owned(),
            format!("{alone:.0}"),
            share(alone),
        ]);
    }
    Ok(Section {
        text: format!(
            "{CONNECTIONS} clients posted {shipped} orders through the gateway for {:.0} s; the last one shipped after \
             {:.1} s. POST was answered with a p50 of {:.1} ms and a p99 of {:.1} ms meanwhile; the host-bridge used \
             {:.2} ms of CPU per order, from POST to `shipping`. pgbench ran `insert_order.sql`, prepared, with as many \
             clients, in the same database with the shop stopped: {:.0} s.",
            pace.stream.as_secs_f64(),
            elapsed.as_secs_f64(),
            milliseconds(percentile(&posted.latencies, 0.5)),
            milliseconds(percentile(&posted.latencies, 0.99)),
            milliseconds(cpu) / shipped as f64,
            pace.pgbench.as_secs_f64(),
        ),
        tables: vec![table],
    })
}
