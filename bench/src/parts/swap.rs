//! Versions of components that take the place of others while orders come: how soon they serve, and what clients feel.

use super::stage::Stage;
use crate::generator::{CONNECTIONS, at_rate, load};
use crate::pace::Pace;
use crate::process::tree;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, verdict};
use crate::statistics::{median, milliseconds, percentile};
use anyhow::{Result, ensure};
use shop_tests::Shop;
use shop_tests::environment::root;
use shop_tests::swappable::{COMPONENTS, Files};
use std::time::{Duration, Instant};

/// Of what the shop can take, so much comes.
const SHARE_OF_CAPACITY: f64 = 0.5;
/// The most that the 99th percentile may grow while components are swapped.
const AIM: f64 = 2.0;
/// How long the last order may take to ship.
const PATIENCE: Duration = Duration::from_secs(120);
/// Until instances that nobody asks any more are gone.
const SETTLING: Duration = Duration::from_secs(5);

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let (shop, files) = Files::start(&[]).await?;
    let stage = Stage::of(shop).await?;
    let mut alone = Vec::new();
    for component in COMPONENTS {
        alone.push(swap(&stage.shop, &files, component, 0).await?);
    }
    let order = stage.order()?;
    let capacity = load(order.clone(), vec![stage.pid], pace.warm_up, pace.stream).await?;
    let rate = capacity.rate() * SHARE_OF_CAPACITY;
    stage.await_quiet(PATIENCE).await?;
    let without = at_rate(order.clone(), rate, pace.swapping).await?;

    stage.await_quiet(PATIENCE).await?;
    let at_rest = memory(&stage).await?;
    let orders = tokio::spawn(at_rate(order, rate, pace.swapping));
    let swapped = swap_on(&stage.shop, &files, pace).await?;
    // Any order that failed is an error.
    let with = orders.await??;
    stage.await_quiet(PATIENCE).await?;
    stage.shop.expect_clean_audit().await?;
    let dead = stage
        .shop
        .count("select count(*) from bridge.dead_letters")
        .await?;
    ensure!(dead == 0, "{dead} dead letters");
    let grown = memory(&stage).await? - at_rest;
    stage.strike().await?;

    let p99 = |latencies: &[Duration]| milliseconds(percentile(latencies, 0.99));
    let ratio = p99(&with) / p99(&without);
    let mut table = Table::new(&["", "without swaps", "with swaps", "ratio", "aim", "reached"]);
    let text = |number: f64| format!("{number:.1}");
    table.row([
        "p99 of an order, ms".to_owned(),
        text(p99(&without)),
        text(p99(&with)),
        format!("**{ratio:.2}**"),
        format!("≤ {AIM}"),
        verdict(ratio <= AIM).to_owned(),
    ]);
    let p50 = |latencies: &[Duration]| milliseconds(percentile(latencies, 0.5));
    table.row([
        "p50, ms".to_owned(),
        text(p50(&without)),
        text(p50(&with)),
        format!("{:.2}", p50(&with) / p50(&without)),
        String::new(),
        String::new(),
    ]);
    let mut times = Table::new(&["from the file to the first request, ms", "median", "longest"]);
    for (name, taken) in [("nobody else there", &alone), ("under that load", &swapped)] {
        let taken: Vec<f64> = taken.iter().copied().map(milliseconds).collect();
        let longest = taken.iter().copied().fold(0.0, f64::max);
        times.row([name.to_owned(), text(median(&taken)), text(longest)]);
    }
    Ok(Section {
        text: format!(
            "{CONNECTIONS} connections, together {rate:.0} orders a second, which is half of what they reach in a closed \
             loop ({:.0}), for {} s; latency counts from when an order was due. Meanwhile each of the {} components is \
             swapped {} times for a file that was never compiled, and files that trap at their first answer, that are cut \
             off, and that import too much are put in their places and refused. No order failed, every one shipped, the \
             audit found nothing, and nothing was dead-lettered: otherwise there would be no table. The memory of the \
             process at rest is {grown:+.0} MiB of what it was before.",
            capacity.rate(),
            pace.swapping.as_secs(),
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

/// Swaps every component so often, evenly over the time, with three files in between that will not do. Gives how long
/// each took from the file to the first request.
async fn swap_on(shop: &Shop, files: &Files, pace: &Pace) -> Result<Vec<Duration>> {
    let begin = Instant::now();
    let all = pace.swaps * COMPONENTS.len();
    let mut taken = Vec::with_capacity(all);
    for number in 0..all {
        // One after the other is waited for, so the pause is what is left of its time.
        let due = begin + pace.swapping.mul_f64(number as f64 / all as f64);
        tokio::time::sleep_until(due.into()).await;
        let component = COMPONENTS[number % COMPONENTS.len()];
        if number * 4 / all < (number + 1) * 4 / all && number + 1 < all {
            refuse(shop, files, component, number * 4 / all).await?;
        }
        let round = number / COMPONENTS.len();
        taken.push(swap(shop, files, component, u8::try_from(round + 1)?).await?);
    }
    Ok(taken)
}

/// The time from the moment that a component's file is there until it serves.
async fn swap(shop: &Shop, files: &Files, component: &str, mark: u8) -> Result<Duration> {
    let done = shop.swaps(component, "done").await?;
    let begin = Instant::now();
    files.put_again(component, mark)?;
    shop.ask_to_swap().await?;
    shop.await_swaps(component, "done", done + 1).await?;
    Ok(begin.elapsed())
}

/// Puts a file that will not do in a component's place, and what served back again.
async fn refuse(shop: &Shop, files: &Files, component: &str, which: usize) -> Result<()> {
    let good = std::fs::read(files.file(component))?;
    let bad = match which {
        0 => std::fs::read(root().join("target/wasm32-wasip2/wasm/stillborn.wasm"))?,
        1 => good[..good.len() / 2].to_vec(),
        _ => wat::parse_str(r#"(component (import "shop:nowhere/thing" (func)))"#)?,
    };
    let refused = shop.swaps(component, "refused").await?;
    files.put(component, &bad)?;
    shop.ask_to_swap().await?;
    shop.await_swaps(component, "refused", refused + 1).await?;
    files.put(component, &good)?;
    Ok(())
}

/// MiB that the process has once it is at rest.
async fn memory(stage: &Stage) -> Result<f64> {
    tokio::time::sleep(SETTLING).await;
    Ok(tree(stage.pid)?.memory as f64 / 1024.0 / 1024.0)
}
