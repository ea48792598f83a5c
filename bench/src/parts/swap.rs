//! Versions of components that take the place of others while orders come: how soon they serve, and what clients feel.

use super::stage::Stage;
use crate::generator::{CONNECTIONS, at_rate, load};
use crate::pace::Pace;
use crate::process::tree;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, verdict};
use crate::statistics::{median, milliseconds, percentile};
use anyhow::{Context as _, Result, ensure};
use shop_tests::Shop;
use shop_tests::environment::root;
use shop_tests::swappable::{COMPONENTS, Files, another};
use std::time::{Duration, Instant};

/// Of what the shop can take, so much comes.
const SHARE_OF_CAPACITY: f64 = 0.5;
/// The most that the 99th percentile may grow while components are swapped.
const AIM: f64 = 2.0;
/// How long the last order may take to ship.
const PATIENCE: Duration = Duration::from_secs(120);
/// Until instances that nobody asks any more are gone.
const SETTLING: Duration = Duration::from_secs(5);

/// A file of a component that will not do, and what is said of it.
struct Bad {
    component: &'static str,
    bytes: Vec<u8>,
    reason: &'static str,
}

/// From a file to its first request.
#[derive(Default)]
struct Taken {
    /// Of files that nobody had compiled yet.
    compiled: Vec<Duration>,
    /// Of files that had served before.
    cached: Vec<Duration>,
}

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let (shop, files) = Files::start(&[]).await?;
    let stage = Stage::of(shop).await?;
    let mut alone = Vec::new();
    for component in COMPONENTS {
        alone.push(swap(&stage.shop, &files, component, &another(component)?).await?);
    }
    let order = stage.order()?;
    let capacity = load(order.clone(), vec![stage.pid], pace.warm_up, pace.stream)
        .await?
        .rate();
    let rate = capacity * SHARE_OF_CAPACITY;
    stage.await_quiet(PATIENCE).await?;
    let time = async {
        tokio::time::sleep(pace.swapping).await;
        Ok(())
    };
    let without = at_rate(order.clone(), rate, time).await?;

    let before = stage.await_quiet(PATIENCE).await?;
    let at_rest = memory(&stage).await?;
    let begin = Instant::now();
    let mut taken = Taken::default();
    let swaps = swap_on(&stage.shop, &files, pace, &mut taken);
    // An order that fails is an error.
    let with = at_rate(order, rate, swaps).await?;
    let lasted = begin.elapsed();
    let shipped = stage.await_quiet(PATIENCE).await? - before;
    ensure!(
        usize::try_from(shipped)? == with.len(),
        "{shipped} of {} orders shipped",
        with.len()
    );
    stage.shop.expect_clean_audit().await?;
    let dead = stage
        .shop
        .count("select count(*) from bridge.dead_letters")
        .await?;
    ensure!(dead == 0, "{dead} dead letters");
    let grown = memory(&stage).await? - at_rest;
    stage.strike().await?;

    let text = |number: f64| format!("{number:.1}");
    let at = |latencies: &[Duration], share| milliseconds(percentile(latencies, share));
    let ratio = at(&with, 0.99) / at(&without, 0.99);
    let mut table = Table::new(&["", "without swaps", "with swaps", "ratio", "aim", "reached"]);
    table.row([
        "p99 of an order, ms".to_owned(),
        text(at(&without, 0.99)),
        text(at(&with, 0.99)),
        format!("**{ratio:.2}**"),
        format!("≤ {AIM}"),
        verdict(ratio <= AIM).to_owned(),
    ]);
    table.row([
        "p50, ms".to_owned(),
        text(at(&without, 0.5)),
        text(at(&with, 0.5)),
        format!("{:.2}", at(&with, 0.5) / at(&without, 0.5)),
        String::new(),
        String::new(),
    ]);
    let mut times = Table::new(&[
        "from the file to the first request, ms",
        "swaps",
        "median",
        "longest",
    ]);
    for (name, taken) in [
        ("never compiled, nobody else there", &alone),
        ("never compiled, under that load", &taken.compiled),
        ("compiled before, under that load", &taken.cached),
    ] {
        let taken: Vec<f64> = taken.iter().copied().map(milliseconds).collect();
        let longest = taken.iter().copied().fold(0.0, f64::max);
        times.row([
            name.to_owned(),
            taken.len().to_string(),
            text(median(&taken)),
            text(longest),
        ]);
    }
    Ok(Section {
        text: format!(
            "{CONNECTIONS} connections, together {rate:.0} orders a second, which is half of what they reach in a closed \
             loop ({capacity:.0}); latency counts from when an order was due. Without swaps that goes on for {} s, with \
             swaps for {:.0} s: each of the {} components is swapped {} times, forth and back between two files, and files \
             that trap at their first answer, that are cut off, and that import too much are put in places of theirs and \
             refused. No order failed, every one shipped, the audit found nothing, and nothing was dead-lettered: \
             otherwise there would be no table. The memory of the process at rest is {grown:+.0} MiB of what it was \
             before.",
            pace.swapping.as_secs(),
            lasted.as_secs_f64(),
            COMPONENTS.len(),
            pace.swaps,
        ),
        tables: vec![table, times],
        ratios: vec![Ratio::new(
            "p99 of an order, with swaps ÷ without",
            Better::Lower,
            &[ratio],
        )],
    })
}

/// Swaps every component so often, evenly over the time if that is enough, with the files in between that will not do.
async fn swap_on(shop: &Shop, files: &Files, pace: &Pace, taken: &mut Taken) -> Result<()> {
    let begin = Instant::now();
    let mut versions = Vec::new();
    for component in COMPONENTS {
        versions.push((component, [another(component)?, another(component)?]));
    }
    let mut bad = bad_files()?.into_iter();
    for round in 0..pace.swaps {
        // It takes what it takes: a compiler and orders share the machine.
        let due = begin + pace.swapping.mul_f64(round as f64 / pace.swaps as f64);
        tokio::time::sleep_until(due.into()).await;
        for (component, files_of_it) in &versions {
            let next = files_of_it.get(round % files_of_it.len()).context("no file")?;
            let time = swap(shop, files, component, next).await?;
            match round < files_of_it.len() {
                true => taken.compiled.push(time),
                false => taken.cached.push(time),
            }
        }
        if let Some(bad) = bad.next() {
            refuse(shop, files, &bad).await?;
        }
    }
    ensure!(bad.next().is_none(), "too few rounds for all that will not do");
    Ok(())
}

fn bad_files() -> Result<[Bad; 3]> {
    let catalog = another("catalog")?;
    Ok([
        Bad {
            component: "auth",
            bytes: std::fs::read(root().join("target/wasm32-wasip2/wasm/stillborn.wasm"))?,
            reason: "GET /health failed",
        },
        Bad {
            component: "catalog",
            bytes: catalog[..catalog.len() / 2].to_vec(),
            reason: "failed to parse",
        },
        Bad {
            component: "delivery",
            bytes: wat::parse_str(r#"(component (import "shop:nowhere/thing" (func)))"#)?,
            reason: "shop:nowhere/thing",
        },
    ])
}

/// The time from the moment that a component's file is there until it serves.
async fn swap(shop: &Shop, files: &Files, component: &str, bytes: &[u8]) -> Result<Duration> {
    let begin = Instant::now();
    files.swap(shop, component, bytes).await?;
    Ok(begin.elapsed())
}

/// Puts a file that will not do in a component's place, and what served back again.
async fn refuse(shop: &Shop, files: &Files, bad: &Bad) -> Result<()> {
    let good = std::fs::read(files.file(bad.component))?;
    let refused = shop.swaps(bad.component, "refused").await?;
    files.put(bad.component, &bad.bytes)?;
    shop.ask_to_swap().await?;
    shop.await_swaps(bad.component, "refused", refused + 1).await?;
    let log = shop.whole_log("host")?;
    ensure!(log.contains(bad.reason), "it was not refused for {}", bad.reason);
    files.put(bad.component, &good)?;
    Ok(())
}

/// MiB that the process has once it is at rest.
async fn memory(stage: &Stage) -> Result<f64> {
    tokio::time::sleep(SETTLING).await;
    Ok(tree(stage.pid)?.memory as f64 / 1024.0 / 1024.0)
}
