//! pgbench with the statements of an order: what Postgres does when nobody is in its way.

use super::saga;
use crate::generator::CONNECTIONS;
use anyhow::{Context as _, Result, ensure};
use shop_tests::Shop;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;

/// The program.
pub(super) struct Pgbench(PathBuf);

impl Pgbench {
    /// Looks where Debian keeps it, newest version first, then on the path.
    pub(super) fn find() -> Option<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let mut debian: Vec<_> = versions
            .map(|version| version.path().join("bin/pgbench"))
            .collect();
        debian.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join("pgbench"));
        let mut candidates = debian.into_iter().rev().chain(on_path);
        candidates.find(|program| program.is_file()).map(Self)
    }

    /// How many orders per second get all the statements that they need from as many clients as the shop has. The shop
    /// must not run: what is written is marked as published before anybody can publish it.
    ///
    /// # Errors
    /// If pgbench fails, or an order was not shipped in the end.
    pub(super) async fn orders_per_second(&self, shop: &Shop, duration: Duration) -> Result<f64> {
        let script = shop.folder().join("order.sql");
        fs::write(&script, saga::script())?;
        let variables = saga::variables(shop, CONNECTIONS).await?;
        let database = shop.database().await?;
        database.batch_execute("checkpoint").await?;
        let before = saga::shipped(shop).await?;
        let url = shop.database_url();
        let mut command = Command::new(&self.0);
        command
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--client={CONNECTIONS}"))
            .arg(format!("--time={}", duration.as_secs().max(1)))
            .arg(format!("--define=n={}", chrono::Utc::now().timestamp_millis()))
            .args(
                variables
                    .iter()
                    .map(|(name, value)| format!("--define={name}={value}")),
            )
            .arg("--file")
            .arg(&script)
            .args(["--host", url.host_str().context("no host")?])
            .args(["--port", &url.port().unwrap_or(5432).to_string()])
            .args(["--username", url.username()])
            .arg(&shop.name)
            .env("PGPASSWORD", url.password().unwrap_or_default());
        let output = command.output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench: {complaint}");
        let number = |prefix: &str| -> Result<f64> {
            let rest = said.lines().find_map(|line| line.strip_prefix(prefix));
            let word = rest.and_then(|rest| rest.split([' ', '/']).next());
            let word = word.with_context(|| format!("pgbench tells no {prefix:?}: {said}"))?;
            word.parse().with_context(|| format!("{prefix}{word}"))
        };
        let scripts = number("number of transactions actually processed: ")?;
        let shipped = saga::shipped(shop).await? - before;
        ensure!(
            shipped as f64 == scripts,
            "{shipped} orders shipped in {scripts} runs of the script"
        );
        for schema in ["ordering", "catalog", "payment", "delivery"] {
            let mark = format!(
                "update {schema}.outbox_messages set processed_at = now() where processed_at is null"
            );
            database.execute(&mark, &[]).await?;
        }
        number("tps = ")
    }
}
