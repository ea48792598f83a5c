//! Builds the components and the native programs.
//!
//! The two may use different compilers and still share `target/`: a custom profile keeps its build scripts and
//! procedural macros in a folder of its own (`target/wasm`), so neither build undoes the other.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::progress::Step;
use crate::run::{Ran, Run};
use crate::toolchain::{Wasm, cargo};

/// Most of those minutes are wasmtime's.
pub(crate) const HINT: &str = "the first time takes minutes";

/// Builds every component to `target/wasm32-wasip2/wasm/*.wasm`.
pub(crate) fn components(checkout: &Checkout) -> Result<()> {
    wasm(checkout, "building the components", &["components"])
}

/// Builds every component, and the guests that the embedded host is tested with, likewise.
pub(crate) fn components_and_guests(checkout: &Checkout) -> Result<()> {
    let step = "building the components and the tests' guests";
    wasm(checkout, step, &["components", "tests/guests"])
}

fn wasm(checkout: &Checkout, step: &str, folders: &[&str]) -> Result<()> {
    let wasm = Wasm::find_or_install(checkout)?;
    let step = Step::start(step);
    let mut command = wasm.cargo(checkout)?;
    command.args([
        "build",
        "--locked",
        "--profile",
        "wasm",
        "--target",
        "wasm32-wasip2",
    ]);
    for folder in folders {
        for name in package_names(checkout, folder)? {
            command.args(["--package", &name]);
        }
    }
    build(checkout, step, command, "components")
}

/// The folders in `folder` are packages of their names.
pub(crate) fn package_names(checkout: &Checkout, folder: &str) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(checkout.root().join(folder)).with_context(|| format!("cannot read {folder}/"))?;
    let folders = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut names: Vec<String> = folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Builds the host-bridge; `--workspace` so that features unify and wasmtime is compiled once for all uses.
pub(crate) fn bridge(checkout: &Checkout) -> Result<()> {
    let step = Step::long("building the host-bridge", HINT);
    let mut command = cargo(checkout);
    command.args([
        "build",
        "--locked",
        "--release",
        "--workspace",
        "--bin",
        "host-bridge",
    ]);
    build(checkout, step, command, "host-bridge")
}

/// Builds all native programs.
pub(crate) fn programs(checkout: &Checkout) -> Result<()> {
    let step = Step::long("building the native programs", HINT);
    let mut command = cargo(checkout);
    command.args(["build", "--locked", "--release", "--workspace", "--bins"]);
    build(checkout, step, command, "programs")
}

/// Builds all native programs and tests. Not by `cargo test --no-run`, which leaves out programs that no test of
/// their own package needs.
pub(crate) fn tests(checkout: &Checkout) -> Result<()> {
    let step = Step::long("building the host-bridge and the tests", HINT);
    let mut command = cargo(checkout);
    command.args([
        "build",
        "--locked",
        "--release",
        "--workspace",
        "--bins",
        "--tests",
    ]);
    build(checkout, step, command, "tests")
}

/// Runs one cargo command; what the compiler says when it fails is shown whole.
pub(crate) fn build(checkout: &Checkout, step: Step, mut command: Command, name: &str) -> Result<()> {
    // Cargo counts only for a terminal; the count is what tells how long it will take.
    command
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "60");
    let log = checkout.log(&format!("build-{name}"))?;
    let ran = Run::of(&step, log).to_end(command)?;
    if !ran.status.success() {
        drop(step);
        show(&ran);
        bail!("the build failed: see above");
    }
    step.done();
    Ok(())
}

/// Prints what the compiler said, without cargo's counting.
fn show(ran: &Ran) {
    let noise = [
        "Compiling ",
        "Building ",
        "Checking ",
        "Downloaded ",
        "Downloading ",
        "Blocking ",
        "Fresh ",
    ];
    for line in &ran.lines {
        let line = line.trim_end();
        if !noise.iter().any(|word| line.trim_start().starts_with(word)) && !line.contains('\x1b') {
            eprintln!("{line}");
        }
    }
}
