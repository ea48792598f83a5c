//! Spin in the place of the embedded host, where `SHOP_TEST_SPIN` names its program.

use crate::environment::root;
use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use std::path::{Path, PathBuf};
use tokio::process::{Child, Command};

/// The program, if it is to serve.
#[must_use]
pub fn program() -> Option<PathBuf> {
    std::env::var_os("SHOP_TEST_SPIN").map(PathBuf::from)
}

/// What serves a manifest, and is to be told where and with what. The folder is for what Spin keeps and logs, which would
/// otherwise stand beside the manifest.
#[must_use]
pub fn up(spin: &Path, manifest: &Path, folder: &Path) -> Command {
    let mut command = Command::new(spin);
    command
        .current_dir(root())
        .args(["up", "--from"])
        .arg(manifest)
        .args(["--quiet", "--state-dir"])
        .arg(folder)
        .arg("--log-dir")
        .arg(folder.join("logs"))
        // A group of its own: what serves is a process below the one that is started.
        .process_group(0);
    command
}

/// The process with all below it, if it leads a group.
pub(crate) fn group(child: &Child) -> Option<Pid> {
    let process = Pid::from_raw(child.id()?.try_into().ok()?)?;
    (getpgid(Some(process)) == Ok(process)).then_some(process)
}

/// Kills a process with all below it, if it leads a group.
pub fn kill(child: &Child) {
    if let Some(group) = group(child) {
        // One that is gone is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
