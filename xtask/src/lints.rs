//! What can be said of the code without running it: the format, the workflows, what clippy finds, and the dependencies.

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::builds;
use crate::checkout::Checkout;
use crate::programs::on_path;
use crate::progress::{Step, say};
use crate::run::Run;
use crate::toolchain::cargo;
use crate::workflows;

#[derive(clap::Args)]
pub(crate) struct Lint {
    /// Only these; all of them otherwise
    #[arg(value_enum)]
    what: Vec<What>,
}

/// In the order in which they run: the quick ones first.
#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Whether `cargo fmt` would change something
    Format,
    /// The forge's workflows: their schema, their safety, and that each job is one command of ours
    Workflows,
    /// clippy, with warnings denied
    Clippy,
}

/// Checks what was asked for.
pub(crate) fn lint(checkout: &Checkout, lint: &Lint) -> Result<()> {
    let chosen = if lint.what.is_empty() {
        What::value_variants()
    } else {
        &lint.what
    };
    for what in chosen {
        match what {
            What::Format => format(checkout)?,
            What::Workflows => workflows::check(checkout)?,
            What::Clippy => clippy(checkout)?,
        }
    }
    Ok(())
}

/// All that there is to lint.
pub(crate) fn all(checkout: &Checkout) -> Result<()> {
    lint(checkout, &Lint { what: Vec::new() })
}

fn format(checkout: &Checkout) -> Result<()> {
    let mut fmt = cargo(checkout);
    fmt.args(["fmt", "--all", "--check"]);
    let step = Step::start("checking the format");
    let ran = Run::of(&step, checkout.log("fmt")?).to_end(fmt)?;
    if !ran.status.success() {
        drop(step);
        eprintln!("{}", ran.lines.join("\n"));
        bail!("not formatted: run `cargo fmt --all`");
    }
    step.done();
    Ok(())
}

fn clippy(checkout: &Checkout) -> Result<()> {
    let step = Step::start("linting");
    let mut clippy = cargo(checkout);
    // In release, to share build scripts and procedural macros with the build of the tests.
    clippy.args([
        "clippy",
        "--locked",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    builds::build(checkout, step, clippy, "clippy")
}

/// Checks the dependencies by `deny.toml`, the advisories included.
///
/// # Errors
/// Where cargo-deny is not installed, or cannot have its database of advisories, too.
pub(crate) fn dependencies(checkout: &Checkout) -> Result<()> {
    if on_path("cargo-deny").is_none() {
        bail!("cargo-deny is not installed; install it with: cargo install --locked cargo-deny");
    }
    policies(checkout)?;
    if !fetch_advisories(checkout)? {
        bail!("the advisories cannot be fetched (`cargo deny fetch db`)");
    }
    advisories(checkout)
}

/// The same as far as this machine can do it: says what is not checked.
pub(crate) fn dependencies_if_possible(checkout: &Checkout) -> Result<()> {
    if on_path("cargo-deny").is_none() {
        say("cargo-deny is not installed: licences, bans and advisories are not checked");
        return Ok(());
    }
    policies(checkout)?;
    if !fetch_advisories(checkout)? {
        say("the advisories cannot be fetched: not checked");
        return Ok(());
    }
    advisories(checkout)
}

fn policies(checkout: &Checkout) -> Result<()> {
    let step = Step::start("checking licences, bans and sources");
    let mut deny = cargo(checkout);
    deny.args(["deny", "--all-features", "check", "bans", "licenses", "sources"]);
    builds::build(checkout, step, deny, "deny")
}

/// Whether the database of advisories could be fetched.
fn fetch_advisories(checkout: &Checkout) -> Result<bool> {
    let step = Step::start("fetching the advisories");
    let mut fetch = cargo(checkout);
    fetch.args(["deny", "fetch", "db"]);
    let ran = Run::of(&step, checkout.log("deny-fetch")?).to_end(fetch)?;
    if ran.status.success() {
        step.done();
    }
    Ok(ran.status.success())
}

fn advisories(checkout: &Checkout) -> Result<()> {
    let step = Step::start("checking the advisories");
    let mut advisories = cargo(checkout);
    advisories.args(["deny", "--all-features", "check", "advisories"]);
    builds::build(checkout, step, advisories, "deny")
}
