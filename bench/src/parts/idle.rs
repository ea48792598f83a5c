//! The shop at rest: what it and its servers use while nobody comes, and how soon it is there again when it is started
//! once more.

use super::stage::{Stage, drop_database, pid};
use crate::machine::servers;
use crate::pace::Pace;
use crate::process::{Usage, tree};
use crate::report::{Section, Table, verdict};
use anyhow::Result;
use std::time::{Duration, Instant};

/// The most that the host-bridge may use, in percent of one core.
const AIM: f64 = 3.0;

/// After this long nothing is left of the start: instances are gone and polls have slowed down.
const SETTLING: Duration = Duration::from_secs(5);

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let mut stage = Stage::set().await?;
    stage.shop.stop_host().await?;
    let started = Instant::now();
    stage.shop.start_up(&[]).await?;
    let second_start = started.elapsed();
    let pid = pid(&mut stage.shop)?;

    let mut watched = vec![("host-bridge", pid)];
    watched.extend(servers().into_iter().map(|server| (server.name, server.pid)));
    // Rest is what is measured: nothing happens that could be awaited.
    tokio::time::sleep(SETTLING).await;
    let before = usages(&watched)?;
    let began = Instant::now();
    tokio::time::sleep(pace.idle).await;
    let elapsed = began.elapsed();
    let after = usages(&watched)?;
    stage.shop.stop_host().await?;
    drop_database(&stage.shop).await?;

    let mut table = Table::new(&["", "CPU, % of a core", "memory, MiB", "aim", "reached"]);
    for (index, (name, _)) in watched.iter().enumerate() {
        let (Some(before), Some(after)) = (before.get(index), after.get(index)) else {
            continue;
        };
        let percent = after.cpu.saturating_sub(before.cpu).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
        let aimed = *name == "host-bridge";
        table.row([
            (*name).to_owned(),
            format!("{percent:.2}"),
            format!("{:.0}", after.memory as f64 / 1024.0 / 1024.0),
            if aimed {
                format!("≤ {AIM} %")
            } else {
                String::new()
            },
            if aimed {
                verdict(percent <= AIM).to_owned()
            } else {
                String::new()
            },
        ]);
    }
    Ok(Section {
        text: format!(
            "`host-bridge up` with nobody there, for {:.0} s; the servers with all their processes. Memory is the \
             proportional set size: pages that processes share count once. A second start of the host-bridge (its \
             components compiled before, its servers running) took {:.2} s until every service was healthy.",
            elapsed.as_secs_f64(),
            second_start.as_secs_f64(),
        ),
        tables: vec![table],
        // Shares of a core are the machine's.
        ratios: Vec::new(),
    })
}

fn usages(watched: &[(&str, u32)]) -> Result<Vec<Usage>> {
    watched.iter().map(|(_, pid)| tree(*pid)).collect()
}
