//! How fast the shop is, in ratios: its components beside a native twin, its saga beside what Postgres and RabbitMQ
//! need by themselves, its relay beside a bare publisher, a shop after an outage or with a long past beside one without,
//! and the shop at rest. `cargo xtask bench` provides the servers and runs this; the figures go to standard output as
//! Markdown, what is at work to standard error.

mod generator;
mod machine;
mod pace;
mod parts;
mod process;
mod ratios;
mod report;
mod statistics;
mod twin;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use pace::Pace;
use parts::Part;
use ratios::OfPart;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the host-bridge allocates with, so that the twin is not the slower for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the shop and prints what it found as Markdown
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    /// Measure this part alone (repeatable)
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,

    /// Shorter and fewer runs: a look, not a result
    #[arg(long)]
    quick: bool,

    /// How many orders wait when an outage ends
    #[arg(long, value_name = "ORDERS")]
    backlog: Option<u64>,

    /// How many orders, and how many processed outbox rows, a shop with a past has
    #[arg(long, value_name = "ROWS")]
    past: Option<u64>,

    /// Also write the tables to this file, in place of those of an earlier run, and the ratios beside it, as JSON; with
    /// --compare, only if none got worse
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "quick"])]
    write: Option<PathBuf>,

    /// Say how the ratios changed since an earlier run wrote this file, and fail if one got worse
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve what the native twin serves, until standard input ends
    #[command(hide = true)]
    Twin(twin::Settings),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    if let Some(Command::Twin(settings)) = cli.command {
        return twin::serve(settings).await;
    }
    let mut pace = if cli.quick { Pace::quick() } else { Pace::full() };
    pace.backlog = cli.backlog.unwrap_or(pace.backlog);
    pace.past = cli.past.unwrap_or(pace.past);
    // Before the half hour, not after it.
    let before = cli.compare.as_deref().map(ratios::read).transpose()?;
    let mut results = Vec::new();
    for part in Part::chosen(&cli.only) {
        results.push((part, part.measure(&pace).await));
    }
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    results.sort_by_key(|(part, _)| *part);
    let markdown = report::render(&machine::describe().await?, &results);
    println!("{markdown}");
    ensure!(failed == 0, "{failed} of the parts could not be measured");
    let now: Vec<OfPart> = results.into_iter().filter_map(OfPart::of).collect();
    ratios::check(&now)?;
    if let Some(before) = before {
        let comparison = ratios::compare(&before, &now);
        println!("{}", comparison.text);
        // Before anything is written: worse figures are no measure for the next run.
        ensure!(
            comparison.worse.is_empty(),
            "got worse: {}",
            comparison.worse.join(", ")
        );
    }
    if let Some(file) = cli.write {
        report::write(&file, &markdown)?;
        ratios::write(&file.with_extension("json"), &now)?;
    }
    Ok(())
}
