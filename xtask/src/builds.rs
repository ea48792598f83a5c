//! Builds the components and the native programs.
//!
//! The two may use different compilers and still share `target/`: a custom profile keeps its build scripts and
//! procedural macros in a folder of its own (`target/wasm`), so neither build undoes the other.

use std::borrow::Cow;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use wasm_encoder::{ComponentSection as _, CustomSection};

use crate::checkout::{Checkout, create_folder};
use crate::progress::Step;
use crate::run::{Ran, Run};
use crate::toolchain::{Wasm, cargo};

/// Most of those minutes are wasmtime's.
pub(crate) const HINT: &str = "the first time takes minutes";

/// What a component says of itself, where `wasm-metadata` and the embedded host look for it: the version that all packages
/// have.
const VERSION: CustomSection<'_> = CustomSection {
    name: Cow::Borrowed("version"),
    data: Cow::Borrowed(env!("CARGO_PKG_VERSION").as_bytes()),
};

/// A folder of packages that are built to wasm, and what stands before a folder's name in its package's.
type Packages = (&'static str, &'static str);

const COMPONENTS: Packages = ("components", "");
const GUESTS: Packages = ("tests/guests", "");
/// `redis` and the like are other people's packages.
const CONFORMANCE: Packages = ("tests/conformance", "conformance-");

/// Builds every component to `target/components/*.wasm`.
pub(crate) fn components(checkout: &Checkout) -> Result<()> {
    wasm(checkout, "building the components", &[COMPONENTS])?;
    hand_out(checkout)
}

/// Builds every component likewise, and the guests that the embedded host is tested with to
/// `target/wasm32-wasip2/wasm/*.wasm`.
pub(crate) fn components_and_guests(checkout: &Checkout) -> Result<()> {
    let step = "building the components and the tests' guests";
    wasm(checkout, step, &[COMPONENTS, GUESTS, CONFORMANCE])?;
    hand_out(checkout)
}

/// Puts the components where the manifests look for them, each with its version in it. One that is there already is left
/// alone, and another takes its place at once: a host that watches the files sees whole ones, and those that changed.
fn hand_out(checkout: &Checkout) -> Result<()> {
    let folder = checkout.components();
    create_folder(&folder)?;
    for package in folder_names(checkout, COMPONENTS.0)? {
        let name = format!("{package}.wasm");
        let built = checkout.wasm().join(&name);
        let mut wasm = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        VERSION.append_to_component(&mut wasm);
        let file = folder.join(&name);
        if fs::read(&file).is_ok_and(|there| there == wasm) {
            continue;
        }
        let aside = folder.join(format!("{name}.new"));
        fs::write(&aside, wasm).with_context(|| format!("cannot write {}", aside.display()))?;
        fs::rename(&aside, &file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Builds what stands for the next release of two components, to `target/next-release/wasm32-wasip2/wasm/*.wasm`.
pub(crate) fn next_release(checkout: &Checkout) -> Result<()> {
    let mut command = build_wasm(checkout)?;
    let step = Step::start("building two components of the next release");
    command.env("CARGO_TARGET_DIR", checkout.target().join("next-release"));
    command.args(["--features", "contracts/next-release"]);
    command.args(["--package", "ordering", "--package", "payment"]);
    build(checkout, step, command, "next-release")
}

fn build_wasm(checkout: &Checkout) -> Result<Command> {
    let mut command = Wasm::find_or_install(checkout)?.cargo(checkout)?;
    command.args([
        "build",
        "--locked",
        "--profile",
        "wasm",
        "--target",
        "wasm32-wasip2",
    ]);
    Ok(command)
}

fn wasm(checkout: &Checkout, step: &str, folders: &[Packages]) -> Result<()> {
    let mut command = build_wasm(checkout)?;
    let step = Step::start(step);
    for (folder, prefix) in folders {
        for name in folder_names(checkout, folder)? {
            command.args(["--package", &format!("{prefix}{name}")]);
        }
    }
    build(checkout, step, command, "components")
}

/// The folders in `folder` that are packages.
pub(crate) fn folder_names(checkout: &Checkout, folder: &str) -> Result<Vec<String>> {
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
        .env("CARGO_TERM_COLOR", "never")
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
