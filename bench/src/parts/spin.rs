//! Spin, where it is installed: a service by itself, as `cargo xtask manifests` writes it.

use crate::process;
use anyhow::{Context as _, Result};
use shop_tests::environment::root;
use shop_tests::{Actor, Shop, eventually};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Spin compiles a component at every start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program `spin` of this machine.
pub(super) struct Spin {
    /// What it says of itself.
    pub(super) version: String,
}

/// A service in Spin; it ends with this value.
pub(super) struct InSpin(Child);

impl Spin {
    pub(super) fn find() -> Option<Self> {
        let output = std::process::Command::new("spin")
            .arg("--version")
            .output()
            .ok()?;
        let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(Self { version })
    }

    /// Serves one service of the shop.
    pub(super) async fn up(&self, shop: &Shop, service: &str, address: SocketAddr) -> Result<InSpin> {
        let child = Command::new("spin")
            .args(["up", "--quiet", "--listen", &address.to_string(), "--from"])
            .arg(root().join(format!("target/manifests/{service}.toml")))
            .arg("--variable")
            .arg(format!("@{}", shop.variables_file().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Spin")?;
        let anybody = Actor::anonymous(&format!("http://{address}"))?;
        eventually("Spin answers", PATIENCE, async || {
            Ok((anybody.get("/health/live").await?.status == 200).then_some(()))
        })
        .await?;
        Ok(InSpin(child))
    }
}

impl InSpin {
    /// `spin` itself, and the trigger that it starts.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        process::family(self.0.id().context("Spin has ended")?)
    }
}

impl Drop for InSpin {
    fn drop(&mut self) {
        // Killed, `spin` would leave its trigger behind.
        let pids = self.pids().unwrap_or_default();
        let _ = std::process::Command::new("kill")
            .args(pids.iter().map(u32::to_string))
            .status();
    }
}
