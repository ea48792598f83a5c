//! One order at a time on an idle shop: from `POST /orders` through the gateway until the order is `shipping`.

use super::stage::Stage;
use super::unit::Unit;
use crate::generator::Connection;
use crate::pace::Pace;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, verdict};
use crate::statistics::{milliseconds, percentile};
use anyhow::Result;
use std::time::{Duration, Instant};

/// What is aimed at.
const AIMS: [(&str, f64, Duration); 2] = [
    ("p50", 0.5, Duration::from_millis(40)),
    ("p99", 0.99, Duration::from_millis(150)),
];

/// How often the unit is measured, before the orders and again after them.
const UNITS: usize = 100;

/// Orders before those that count.
const WARM_UP: usize = 10;

/// A customer thinks between two orders, and not in step with any clock of ours.
const THINKING_STEPS: [Duration; 4] = [
    Duration::from_millis(31),
    Duration::from_millis(73),
    Duration::from_millis(109),
    Duration::from_millis(57),
];

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let stage = Stage::set().await?;
    let unit = Unit::prepare(&stage.shop).await?;
    let mut units = unit.measure(UNITS).await?;
    let orders = orders(&stage, pace.single_orders).await?;
    units.extend(unit.measure(UNITS).await?);
    unit.remove().await?;
    stage.strike().await?;

    let unit = percentile(&units, 0.5);
    let mut ratios = Vec::new();
    let mut table = Table::new(&[
        "POST to `shipping`",
        "ms",
        "in units of one commit + one confirm",
        "aim, ms",
        "reached",
    ]);
    for (name, share, aim) in AIMS {
        let taken = percentile(&orders, share);
        let units = taken.as_secs_f64() / unit.as_secs_f64();
        // The 99th percentile of so few is the bad luck of one.
        if share <= 0.5 {
            let ratio = format!("{name} ÷ one commit + one confirm");
            ratios.push(Ratio::new(ratio, Better::Lower, &[units]));
        }
        table.row([
            name.to_owned(),
            format!("**{:.1}**", milliseconds(taken)),
            format!("{units:.1}"),
            format!("{:.0}", milliseconds(aim)),
            verdict(taken <= aim).to_owned(),
        ]);
    }
    Ok(Section {
        text: format!(
            "{} orders, one after the other, through the gateway, with `host-bridge up` as in `cargo xtask up`; a \
             client looks every 2 ms. The unit, one insert committed in Postgres and one message of 1 KiB confirmed \
             by a quorum queue, had a median of {:.2} ms in the same run. An order needs four events, each with a \
             commit that writes it and a confirm that carries it.",
            pace.single_orders,
            milliseconds(unit),
        ),
        tables: vec![table],
        ratios,
    })
}

async fn orders(stage: &Stage, count: usize) -> Result<Vec<Duration>> {
    let order = stage.order()?;
    let mut connection = Connection::open(stage.gateway).await?;
    let mut durations = Vec::with_capacity(count);
    for (number, thinking) in (0..WARM_UP + count).zip(THINKING_STEPS.into_iter().cycle()) {
        tokio::time::sleep(thinking).await;
        let started = Instant::now();
        stage.see_shipped(&mut connection, &order).await?;
        if number >= WARM_UP {
            durations.push(started.elapsed());
        }
    }
    Ok(durations)
}
