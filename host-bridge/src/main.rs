//! The one native process of the shop: serves its components (`serve`), carries events between outbox tables, RabbitMQ
//! and services (`relay`), or both (`up`); prepares databases (`migrate`, `seed`); and is what an operator works with
//! (`status`, `dead-letters`, `replay`, `audit`). What it does lives in the crates `embedded-host` and `relay`; here are the command line,
//! the wiring, logs, metrics and signals.

mod audit;
mod cli;
mod database;
mod dead_letters;
mod known;
mod migrate;
mod moment;
mod observe;
mod print;
mod replay;
mod run;
mod seed;
mod signals;
mod status;
mod versions;

use clap::Parser;
use cli::{Cli, Command};
use known::Secrets;
use std::io::Write;
use std::process::ExitCode;

/// Lifting and lowering values between host and guests allocates a lot.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version, which were asked for.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            say(&cli::one_line(&error));
            return ExitCode::from(USAGE);
        }
    };
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// One line, whatever the causes look like: for who starts the process, not for who reads the logs.
fn say(reason: &str) {
    let _ = writeln!(std::io::stderr(), "host-bridge: {}", reason.replace('\n', " "));
}

fn start(cli: Cli) -> anyhow::Result<()> {
    observe::log(&cli.log_level)?;
    if let Some(point) = &cli.crash_at {
        crash_points::arm(point).map_err(|reason| anyhow::anyhow!("--crash-at: {reason}"))?;
        tracing::warn!(point, "will be killed at this point: for tests only");
    }
    let secrets = match cli.demo {
        true => Secrets::Demo,
        false => Secrets::Own,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => run::serve(serve, secrets).await,
            Command::Relay(relay) => run::relay(relay, secrets).await,
            Command::Up(up) => run::up(up, secrets).await,
            Command::Migrate(migrate) => migrate::migrate(migrate, secrets).await,
            Command::Seed(seed) => seed::seed(seed).await,
            Command::Status(status) => status::status(status).await,
            Command::DeadLetters(command) => dead_letters::dead_letters(command).await,
            Command::Replay(replay) => replay::replay(replay).await,
            Command::Audit(audit) => audit::audit(audit).await,
        }
    });
    // A component that is being compiled is waited for by nobody.
    runtime.shutdown_background();
    ended
}
