//! A Rust compiler for wasm32-wasip2. Usually that is rustup's target; where rustup cannot download, Debian
//! ships a compiler for the web with the source of its standard library, which is then built once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::checkout::{Checkout, create_folder, remove};
use crate::programs::{self, may_install, on_path};
use crate::progress::{Step, say};
use crate::run::Run;

pub(crate) const TARGET: &str = "wasm32-wasip2";
/// Debian's compiler for the web; rustup's is found on PATH.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_RUSTLIB: &str = "/usr/lib/rustlib";
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "rust-web-llvm", "wasi-libc"];

/// Which compiler builds the components.
pub(crate) enum Wasm {
    /// The one that builds everything else, too.
    Own,
    Debian,
}

impl Wasm {
    /// Finds a compiler for the components, or installs one.
    ///
    /// # Errors
    /// One line that says what to install, where nothing works.
    pub(crate) fn find_or_install(checkout: &Checkout) -> Result<Self> {
        // Asks the compilers rather than a stamp file: a standard library left by another version of the
        // compiler, after an upgrade of either, is refused by the compiler itself.
        if compiles(checkout, "rustc") {
            return Ok(Self::Own);
        }
        if compiles(checkout, DEBIAN_RUSTC) {
            return Ok(Self::Debian);
        }
        let debian = may_install() && cfg!(target_os = "linux");
        if on_path("rustup").is_some() && add_by_rustup(checkout, debian)? && compiles(checkout, "rustc") {
            return Ok(Self::Own);
        }
        if debian {
            install_debian(checkout)?;
            if compiles(checkout, DEBIAN_RUSTC) {
                return Ok(Self::Debian);
            }
            bail!("Debian's rustc-web still cannot build for {TARGET}; try: rustup target add {TARGET}");
        }
        bail!("the compiler cannot build for {TARGET}; install that with: rustup target add {TARGET}");
    }

    /// A `cargo` that builds components.
    pub(crate) fn cargo(&self, checkout: &Checkout) -> Result<Command> {
        let mut command = cargo(checkout);
        // Flags for the machine's own processor are no flags for wasm.
        command
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Self::Debian = self {
            command
                .env("RUSTC", DEBIAN_RUSTC)
                .env("PATH", path_with_linkers()?);
        }
        Ok(command)
    }
}

/// A `cargo` as the user would call it in a shell: what the `cargo run` around xtask set is taken out again,
/// for build scripts that look at it would run anew each time.
pub(crate) fn cargo(checkout: &Checkout) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let ours = [
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ];
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix)))
        {
            command.env_remove(name);
        }
    }
    // RUSTC would make the native build and the components' build use one compiler.
    command
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTC_BOOTSTRAP")
        .env_remove("OUT_DIR");
    command
        .env("CARGO_TARGET_DIR", checkout.target())
        .current_dir(checkout.root());
    command
}

/// Whether a compiler can use a standard library for the target: compiles one line.
fn compiles(checkout: &Checkout, rustc: &str) -> bool {
    let folder = checkout.target().join("wasm-probe");
    let source = folder.join("probe.rs");
    let written = create_folder(&folder).and_then(|()| {
        fs::write(&source, "pub fn probe() -> String { String::new() }\n").context("cannot write the probe")
    });
    if written.is_err() {
        return false;
    }
    let output = Command::new(rustc)
        .env_remove("RUSTC_BOOTSTRAP")
        .current_dir(checkout.root())
        .args([
            "--target",
            TARGET,
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "--out-dir",
        ])
        .arg(&folder)
        .arg(&source)
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// `rustup target add`, which may have no way to download: then the answer is no.
fn add_by_rustup(checkout: &Checkout, another_way: bool) -> Result<bool> {
    let step = Step::start(format!("adding the Rust target {TARGET}"));
    let mut command = Command::new("rustup");
    command
        .args(["target", "add", TARGET])
        .current_dir(checkout.root());
    let mut run = Run::of(&step, checkout.log("rustup")?);
    run.limit = Some(Duration::from_secs(if another_way { 60 } else { 600 }));
    let ran = run.to_end(command);
    crate::interrupt::check()?;
    let said = match ran {
        Ok(ran) if ran.status.success() => {
            step.done();
            return Ok(true);
        }
        Ok(ran) => ran.last_line().to_owned(),
        Err(error) => format!("{error:#}"),
    };
    drop(step);
    say(&format!("rustup cannot add it ({said})"));
    Ok(false)
}

/// Installs Debian's compiler and builds its standard library for the target.
fn install_debian(checkout: &Checkout) -> Result<()> {
    programs::install(checkout, &DEBIAN_PACKAGES).context(format!(
        "no compiler for {TARGET}: neither rustup nor Debian's archive has one for this machine"
    ))?;
    let step = Step::start(format!("building the standard library for {TARGET} (once)"));
    let krate = checkout.target().join("wasm-std");
    let built = build_std(checkout, &step, &krate)?;
    lay_std(&built)?;
    remove(&krate)?;
    step.done();
    Ok(())
}

/// Builds an empty crate, and with it the standard library. A library, so nothing is linked yet.
fn build_std(checkout: &Checkout, step: &Step, krate: &Path) -> Result<PathBuf> {
    create_folder(&krate.join("src"))?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
    fs::write(krate.join("Cargo.toml"), manifest).context("cannot write an empty crate")?;
    fs::write(krate.join("src/lib.rs"), "").context("cannot write an empty crate")?;
    let target_dir = krate.join("target");
    let mut command = cargo(checkout);
    command
        .current_dir(krate)
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("RUSTC", DEBIAN_RUSTC)
        // Cargo's -Zbuild-std is what a stable compiler needs to be told to allow.
        .env("RUSTC_BOOTSTRAP", "1")
        // Without bitcode in the standard library, `lto = true` fails later.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args([
            "build",
            "--release",
            "-Zbuild-std=std,panic_abort",
            "--target",
            TARGET,
        ]);
    Run::of(step, checkout.log("wasm-std")?).or_fail(command, "the standard library does not build")?;
    Ok(target_dir.join(TARGET).join("release/deps"))
}

/// Lays the standard library and wasi-libc's objects where Debian's compiler looks for them: beside the place
/// first, then renamed, so that a crash leaves no half.
fn lay_std(built: &Path) -> Result<()> {
    let place = Path::new(DEBIAN_RUSTLIB).join(TARGET);
    let fresh = Path::new(DEBIAN_RUSTLIB).join(format!(".{TARGET}.new"));
    remove(&fresh)?;
    let objects = fresh.join("lib/self-contained");
    create_folder(&objects)?;
    let own_crate = |name: &str| name.starts_with("libempty");
    copy_all(built, &fresh.join("lib"), |name| {
        name.ends_with(".rlib") && !own_crate(name)
    })?;
    copy_all(Path::new("/usr/lib/wasm32-wasi"), &objects, |name| {
        name.ends_with(".o") || name.ends_with(".a")
    })?;
    // Removed, not renamed away: a container's file system refuses to rename a folder of its image.
    remove(&place)?;
    fs::rename(&fresh, &place).with_context(|| format!("cannot write {}", place.display()))
}

fn copy_all(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(&wanted) {
            fs::copy(entry.path(), to.join(&name))
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Debian's compiler has no linker for wasm: the one of the compiler on PATH serves, with the tool that makes
/// components.
fn path_with_linkers() -> Result<std::ffi::OsString> {
    let sysroot = PathBuf::from(ask_rustc(&["--print", "sysroot"])?);
    let version = ask_rustc(&["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say what machine it runs on")?;
    let tools = sysroot.join("lib/rustlib").join(host).join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [tools.join("gcc-ld"), tools]
        .into_iter()
        .chain(env::split_paths(&path));
    env::join_paths(folders).context("PATH cannot be extended")
}

fn ask_rustc(args: &[&str]) -> Result<String> {
    let output = Command::new("rustc")
        .args(args)
        .output()
        .context("cannot run rustc")?;
    Ok(String::from_utf8(output.stdout)
        .context("rustc does not answer in UTF-8")?
        .trim()
        .to_owned())
}
