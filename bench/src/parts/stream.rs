//! A sustained stream: clients order as fast as they are answered, and what counts is how many orders ship in the time
//! until the last of them has.

use super::pgbench::Pgbench;
use super::stage::{Stage, pid};
use crate::generator::{CONNECTIONS, load};
use crate::pace::Pace;
use crate::process;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, bounds, verdict};
use crate::statistics::{median, milliseconds, percentile};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How long the last order may take to ship after the stream has ended.
const PATIENCE: Duration = Duration::from_secs(120);

/// The least and the wanted share of what pgbench reaches.
const FLOOR: f64 = 0.25;
const AIM: f64 = 0.4;

/// What one stream came to.
pub(super) struct Stream {
    /// Orders that shipped per second, until the last of them had.
    pub(super) shipped: f64,
    /// Orders that were accepted per second, while clients posted.
    pub(super) accepted: f64,
    pub(super) latencies: Vec<Duration>,
    /// CPU time of the process that serves, for one order.
    pub(super) cpu: Duration,
}

impl Stream {
    /// Has clients order for `duration`, and waits until every order has shipped.
    pub(super) async fn run(stage: &Stage, duration: Duration) -> Result<Self> {
        let before = stage.await_quiet(PATIENCE).await?;
        stage.shop.database().await?.batch_execute("checkpoint").await?;
        let used = process::cpu_time(stage.pid)?;
        let started = Instant::now();
        let posted = load(stage.order()?, vec![stage.pid], Duration::ZERO, duration).await?;
        let shipped = stage.await_quiet(PATIENCE).await? - before;
        let elapsed = started.elapsed();
        let cpu = process::cpu_time(stage.pid)?.saturating_sub(used);
        ensure!(
            usize::try_from(shipped)? == posted.latencies.len(),
            "{shipped} orders shipped of {}",
            posted.latencies.len()
        );
        Ok(Self {
            shipped: shipped as f64 / elapsed.as_secs_f64(),
            accepted: posted.rate(),
            cpu: cpu.div_f64(shipped as f64),
            latencies: posted.latencies,
        })
    }
}

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let mut stage = Stage::set().await?;
    let pgbench = Pgbench::find();
    let (mut streams, mut alone) = (Vec::new(), Vec::new());
    for round in 0..pace.long_rounds {
        if round > 0 {
            stage.shop.start_up(&[]).await?;
            stage.pid = pid(&mut stage.shop)?;
        }
        streams.push(Stream::run(&stage, pace.stream).await?);
        stage.shop.stop_host().await?;
        if let Some(pgbench) = &pgbench {
            alone.push(pgbench.orders_per_second(&stage.shop, pace.pgbench).await?);
            stage.shop.database().await?.batch_execute("vacuum").await?;
        }
    }
    stage.strike().await?;

    let middle = |figure: fn(&Stream) -> f64| median(&streams.iter().map(figure).collect::<Vec<_>>());
    let mut table = Table::new(&[
        "",
        "orders/s",
        "÷ pgbench",
        "lowest to highest round",
        "floor",
        "kept",
        "aim",
        "reached",
    ]);
    let rate = format!("**{:.0}**", middle(|stream| stream.shipped));
    let shares: Vec<f64> = streams
        .iter()
        .zip(&alone)
        .map(|(stream, alone)| stream.shipped / alone)
        .collect();
    let mut row = vec!["POST to `shipping`".to_owned(), rate];
    let mut ratios = Vec::new();
    if shares.is_empty() {
        row.extend(["no pgbench here"].map(str::to_owned));
        row.resize(8, String::new());
    } else {
        let share = median(&shares);
        ratios.push(Ratio::new("shipped orders ÷ pgbench", Better::Higher, &shares));
        row.extend([format!("**{share:.2}**"), bounds(&shares)]);
        row.extend([format!("{FLOOR:.2}"), verdict(share >= FLOOR).to_owned()]);
        row.extend([format!("{AIM:.2}"), verdict(share >= AIM).to_owned()]);
    }
    table.row(row);
    let mut other = |name: &str, rate: f64| {
        let cells = [name.to_owned(), format!("{rate:.0}")];
        table.row(cells.into_iter().chain(std::iter::repeat_n(String::new(), 6)));
    };
    other("accepted while clients post", middle(|stream| stream.accepted));
    if !alone.is_empty() {
        other("pgbench, all statements of an order", median(&alone));
    }
    let latency = |share| {
        let latencies: Vec<f64> = streams
            .iter()
            .map(|stream| milliseconds(percentile(&stream.latencies, share)))
            .collect();
        median(&latencies)
    };
    Ok(Section {
        text: format!(
            "{CONNECTIONS} clients posted through the gateway for {:.0} s, {} times; the clock stopped when the last \
             order was `shipping`. POST was answered with a p50 of {:.1} ms and a p99 of {:.1} ms meanwhile; the \
             host-bridge used {:.2} ms of CPU per order, from POST to `shipping`. After each stream pgbench ran for \
             {:.0} s in the same database with the shop stopped, with as many clients and prepared statements; medians.\n\n\
             Its script is what one order needs, with the services' own files and one transaction each: \
             `catalog_items`, `insert_order` (ordering); `load_reservations`, `store_reservations` (catalog); \
             `open_orders`, the provider's `charge`, `store_changes` (payment); `load_batch` and `store_changes` of \
             ordering for StockReserved and again for PaymentCompleted; the same two of delivery for OrderPaid; and of \
             ordering for ShipmentCreated: fifteen statements, six of which only read. Events are as large as the \
             shop's. The server puts the parameters together, for pgbench cannot, and each client has a flower of its \
             own, so that none waits for another's lock. It is spared what the relay does (polls, marks) and everything \
             outside Postgres; it does not gather orders into batches, as the shop does. Each run of the script is \
             checked to have left a shipped order in every schema.",
            pace.stream.as_secs_f64(),
            pace.long_rounds,
            latency(0.5),
            latency(0.99),
            middle(|stream| milliseconds(stream.cpu)),
            pace.pgbench.as_secs_f64(),
        ),
        tables: vec![table],
        ratios,
    })
}
