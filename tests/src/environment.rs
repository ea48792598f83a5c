//! Where the servers and the built programs are, as `cargo xtask test` says.

use anyhow::{Context, Result};
use std::path::PathBuf;

/// The value of the environment variable `name`.
///
/// # Errors
/// If it is not set: the test was not run by `cargo xtask test`.
pub fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run the tests with `cargo xtask test`"))
}

/// Where a service of the shop that the black-box tests visit answers what is not for clients: at a place of its own, or
/// where the gateway is.
///
/// # Errors
/// If there is no shop.
pub fn service_base(service: &str) -> Result<String> {
    let own = std::env::var("SHOP_TEST_SERVICES").unwrap_or_default();
    let mut own = own
        .split_whitespace()
        .filter_map(|service| service.split_once('='));
    match own.find(|(name, _)| *name == service) {
        Some((_, base)) => Ok(base.to_owned()),
        None => variable("SHOP_TEST_BASE_URL"),
    }
}

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map_or(tests.clone(), PathBuf::from)
}

/// One of the servers that the tests may stop, pause and start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Postgres,
    Redis,
    Rabbitmq,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
        }
    }

    /// Does `action` to the server: `start`, `stop`, `kill`, `restart`, `pause` or `resume`.
    ///
    /// # Errors
    /// If that fails.
    pub async fn act(self, action: &str) -> Result<()> {
        let xtask = variable("SHOP_TEST_XTASK")?;
        let mut command = tokio::process::Command::new(xtask);
        let output = command
            .args(["server", action, self.name()])
            .current_dir(root())
            .output()
            .await?;
        anyhow::ensure!(
            output.status.success(),
            "{action} {}: {}",
            self.name(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
