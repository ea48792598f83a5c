//! The programs a private shop needs: finds them, and installs what is missing from Debian's archive where it
//! may. Nothing installed here is started: a machine's own servers are not ours to run.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::progress::{self, Step};
use crate::run::{OnSignal, Run};

/// Something to be installed if it is not there.
pub(crate) struct Need {
    pub(crate) title: &'static str,
    pub(crate) debian: &'static str,
    pub(crate) homebrew: &'static str,
    pub(crate) present: fn() -> bool,
}

/// Finds a program as a shell would.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The folders that match `<base>/<prefix>*<rest>`, the highest version first.
pub(crate) fn versions(base: &str, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?;
            let numbers = version.split(|c: char| !c.is_ascii_digit());
            let folder = entry.path().join(rest);
            folder
                .is_dir()
                .then(|| (numbers.filter_map(|n| n.parse().ok()).collect(), folder))
        })
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0));
    found.into_iter().map(|(_, folder)| folder).collect()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn may_install() -> bool {
    is_root() && on_path("apt-get").is_some()
}

/// Makes sure that every need is met.
///
/// # Errors
/// One line that says what to install, where installing it is not ours to do.
pub(crate) fn ensure(checkout: &Checkout, needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let debian: Vec<&str> = missing.iter().map(|need| need.debian).collect();
    if may_install() {
        install(checkout, &debian)?;
        return match needs.iter().find(|need| !(need.present)()) {
            Some(need) => bail!(
                "{} was installed, but its programs are not where they should be",
                need.debian
            ),
            None => Ok(()),
        };
    }
    let titles: Vec<&str> = missing.iter().map(|need| need.title).collect();
    let titles = titles.join(", ");
    let homebrew: Vec<&str> = missing.iter().map(|need| need.homebrew).collect();
    if cfg!(target_os = "macos") {
        bail!(
            "not installed: {titles}; install with: brew install {}",
            homebrew.join(" ")
        );
    }
    let debian = debian.join(" ");
    if on_path("apt-get").is_some() {
        bail!(
            "not installed: {titles}; install with: sudo apt-get install -y --no-install-recommends {debian}"
        );
    }
    bail!("not installed: {titles}; install with your system's package manager");
}

/// The same for something that can be done without: says so if it is not to be had.
pub(crate) fn ensure_if_possible(checkout: &Checkout, need: &Need) {
    if (need.present)() || (may_install() && install(checkout, &[need.debian]).is_ok()) {
        return;
    }
    progress::say(&format!(
        "{} is not installed: what needs it is not checked",
        need.title
    ));
}

/// Installs Debian packages without starting the services that are in them.
pub(crate) fn install(checkout: &Checkout, packages: &[&str]) -> Result<()> {
    let step = Step::start(format!("installing {}", packages.join(", ")));
    let _policy = NoServiceStarts::hold()?;
    let first = apt_install(checkout, &step, packages, "apt-install")?;
    if let Err(said) = first {
        // The usual reason is a list of packages older than the archive.
        let mut update = apt();
        update.arg("update");
        Run::of(&step, checkout.log("apt-update")?)
            .or_fail(update, "apt-get update failed")
            .with_context(|| format!("cannot install {}: {said}", packages.join(", ")))?;
        if let Err(said) = apt_install(checkout, &step, packages, "apt-install")? {
            bail!("cannot install {}: {said}", packages.join(", "));
        }
    }
    step.done();
    Ok(())
}

/// `Ok(Err(…))` is what apt said when it refused.
fn apt_install(
    checkout: &Checkout,
    step: &Step,
    packages: &[&str],
    log: &str,
) -> Result<std::result::Result<(), String>> {
    let mut command = apt();
    command
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages);
    let mut run = Run::of(step, checkout.log(log)?);
    run.on_signal = OnSignal::LetFinish;
    let ran = run.to_end(command)?;
    Ok(if ran.status.success() {
        Ok(())
    } else {
        Err(ran.last_line().to_owned())
    })
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Use-Pty=0",
        "-o",
        "Acquire::Retries=3",
    ]);
    command
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
const MARK: &str = "# Laid by `cargo xtask` while it installs packages; removed right afterwards.";

/// While it is held, Debian's packages do not start their services. A policy of the machine's own stays as it
/// is and is obeyed.
struct NoServiceStarts {
    ours: bool,
}

impl NoServiceStarts {
    fn hold() -> Result<Self> {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY);
        match opened {
            Ok(mut file) => {
                let held = Self { ours: true };
                write!(file, "#!/bin/sh\n{MARK}\nexit 101\n")
                    .with_context(|| format!("cannot write {POLICY}"))?;
                Ok(held)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { ours: left_by_us() }),
            Err(error) => Err(error).with_context(|| format!("cannot write {POLICY}")),
        }
    }
}

/// An xtask that was killed in the middle could not take its policy away.
fn left_by_us() -> bool {
    fs::read_to_string(Path::new(POLICY)).is_ok_and(|text| text.contains(MARK))
}

impl Drop for NoServiceStarts {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            progress::say(&format!(
                "remove {POLICY} by hand, it keeps services from starting ({error})"
            ));
        }
    }
}
