//! `cargo xtask`: everything one does with this checkout, from running the shop to guarding `main`.
//!
//! Here is the command line. Each command lives in the module of its noun; what they share is below it:
//! `servers` (private Postgres, Redis, RabbitMQ), `toolchain` and `builds`, `run` and `process`.

mod addresses;
mod builds;
mod checkout;
mod checks;
mod interrupt;
mod kubernetes;
mod lints;
mod manifests;
mod process;
mod programs;
mod progress;
mod python;
mod release;
mod run;
mod schemathesis;
mod secrets;
mod servers;
mod shop;
mod toolchain;
mod up;
mod workflows;

use std::process::ExitCode;

use anyhow::Result;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand, ValueEnum};
use rustix::process::Signal;

use crate::checkout::Checkout;
use crate::interrupt::Interrupted;
use crate::servers::{Kind, Servers};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
New here? `cargo xtask up` builds and starts everything, and says where to look.

`up` uses Postgres, Redis and RabbitMQ at these addresses where they are set, and
otherwise starts private ones that keep all they have under `.shop/`:
  SHOP_ADMIN_DATABASE_URL   postgres://owner:password@host:5432/flower_shop_db
  SHOP_REDIS_URL            redis://host:6379
  SHOP_AMQP_URL             amqp://user:password@host:5672/%2f";

/// The flower shop, on this machine
#[derive(Parser)]
#[command(bin_name = "cargo xtask", styles = STYLES, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build and start the whole shop with demo data, until Ctrl-C
    Up(up::Up),
    /// Stop the shop that `up` started in another terminal
    Down,
    /// Run all tests, on fresh servers of their own
    Test(checks::Test),
    /// Kill, stop, pause and cut off everything while clients shop, and see whether all agrees afterwards
    Chaos(checks::Chaos),
    /// Measure the shop, on fresh servers of its own
    Bench(checks::Bench),
    /// All that guards `main`: lints, dependencies, deployment, tests
    Ci,
    /// Check the format, the workflows and what clippy finds, or some of them
    Lint(lints::Lint),
    /// Check the dependencies: advisories, licences, sources
    Deps,
    /// Build the components and the native programs
    Build,
    /// Build the WebAssembly components only
    Components,
    /// Write a Spin manifest for each service alone, to `target/manifests/`
    Manifests,
    /// Render and check what `deploy/kubernetes` tells a cluster
    Kubernetes,
    /// What a release is made of: each part of it by itself
    Release(release::Release),
    /// Write the API's descriptions anew, as the code has them
    Describe,
    /// For tests: do something to one of the private servers
    #[command(hide = true)]
    Server(Server),
}

#[derive(clap::Args)]
struct Server {
    #[arg(value_enum)]
    action: Action,
    #[arg(value_enum)]
    name: Kind,
    /// Whose server: that of the tests, the bench, or the shop of `up`
    #[arg(long, value_enum, default_value = "test")]
    of: Whose,
}

#[derive(Clone, Copy, ValueEnum)]
enum Action {
    /// Start it and wait until it takes connections
    Start,
    /// Stop it in order
    Stop,
    /// Stop it as a power cut would
    Kill,
    Restart,
    /// Hold it still: connections stay open, nothing answers
    Pause,
    Resume,
}

#[derive(Clone, Copy, ValueEnum)]
enum Whose {
    Test,
    Bench,
    Up,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(130),
        Err(error) => {
            // One line, and never a backtrace: `{:#}` is the message with its causes.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    interrupt::install()?;
    let checkout = Checkout::find()?;
    match &cli.command {
        Task::Up(up) => up::up(&checkout, up),
        Task::Down => up::down(&checkout),
        Task::Test(test) => checks::test(&checkout, test),
        Task::Chaos(chaos) => checks::chaos(&checkout, chaos),
        Task::Bench(bench) => checks::bench(&checkout, bench),
        Task::Ci => checks::ci(&checkout),
        Task::Lint(lint) => lints::lint(&checkout, lint),
        Task::Deps => lints::dependencies(&checkout),
        Task::Build => builds::components(&checkout).and_then(|()| builds::programs(&checkout)),
        Task::Components => builds::components(&checkout),
        Task::Kubernetes => kubernetes::check(&checkout),
        Task::Manifests => manifests::write(&checkout),
        Task::Release(release) => release::release(&checkout, release),
        Task::Describe => checks::describe(&checkout),
        Task::Server(server) => server.run(&checkout),
    }
}

impl Server {
    fn run(&self, checkout: &Checkout) -> Result<()> {
        let folder = match self.of {
            Whose::Test => checkout.shop().join("test"),
            Whose::Bench => checkout.shop().join("bench"),
            Whose::Up => checkout.shop(),
        };
        let servers = Servers::open(folder)?;
        let name = self.name;
        match self.action {
            Action::Start => start(&servers, name),
            Action::Stop => servers.stop(name),
            Action::Kill => servers.kill(name),
            Action::Restart => servers.stop(name).and_then(|()| start(&servers, name)),
            Action::Pause => servers.signal(name, Signal::STOP),
            Action::Resume => servers.signal(name, Signal::CONT),
        }
    }
}

fn start(servers: &Servers, name: Kind) -> Result<()> {
    servers.launch(name)?;
    servers.await_all(&[name])
}
