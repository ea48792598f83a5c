//! pgbench with the order statement: what Postgres does when nobody is in its way.

use crate::generator::CONNECTIONS;
use anyhow::{Context as _, Result, ensure};
use shop_tests::Shop;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const INSERT_ORDER: &str =
    include_str!("../../../components/ordering/src/infrastructure/sql/insert_order.sql");

/// What stands for the parameters of the statement, `$1` first. pgbench has no UUIDs of its own, so the server draws
/// them; what a component sends as one document is put together there too. `:payload` is a variable of pgbench.
const PARAMETERS: [&str; 13] = [
    "gen_random_uuid()",
    "gen_random_uuid()",
    "'created'",
    "15000",
    "'RUB'",
    "'1 Rose Street'",
    "'pm_card_visa'",
    "(now() at time zone 'utc')",
    "(now() at time zone 'utc' + interval '15 minutes')",
    "jsonb_build_array(jsonb_build_object('id', gen_random_uuid(), 'position', 0, 'flower_id', gen_random_uuid(), \
     'bouquet_id', null, 'quantity', 1, 'price_minor', 15000))",
    "'OrderPlaced'",
    "'4bf92f3577b34da6a3ce929d0e0e4736'",
    "jsonb_build_array(jsonb_build_object('event_id', gen_random_uuid(), 'event_type', 'OrderCreated', 'routing_key', \
     'order.created', 'ordering_key', gen_random_uuid(), 'aggregate_id', gen_random_uuid(), 'payload', :payload::jsonb, \
     'headers', '{}'::jsonb), jsonb_build_object('event_id', gen_random_uuid(), 'event_type', \
     'PaymentDeadlinePassed', 'routing_key', 'self.ordering.payment_deadline', 'ordering_key', gen_random_uuid(), \
     'aggregate_id', gen_random_uuid(), 'payload', '{}'::jsonb, 'headers', '{}'::jsonb, 'due_at', \
     now() + interval '15 minutes'))",
];

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

    /// How many orders per second Postgres takes from as many clients as the shop has, as ordering's login.
    ///
    /// # Errors
    /// If pgbench fails.
    pub(super) async fn orders_per_second(&self, shop: &Shop, duration: Duration) -> Result<f64> {
        let script = shop.folder().join("order.sql");
        fs::write(&script, format!("{};\n", statement().trim_end()))?;
        let output = self.command(shop, &script, duration).await?.output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench: {complaint}");
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = rate.and_then(|rest| rest.split_whitespace().next());
        rate.with_context(|| format!("pgbench tells no tps: {said}"))?
            .parse()
            .context("pgbench tells no number")
    }

    async fn command(&self, shop: &Shop, script: &Path, duration: Duration) -> Result<Command> {
        let payload: String = shop
            .database()
            .await?
            .query_one(
                "select payload::text from ordering.outbox_messages where event_type = 'OrderCreated' limit 1",
                &[],
            )
            .await?
            .try_get(0)?;
        let url = shop.login_url("ordering");
        let mut command = Command::new(&self.0);
        command
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--client={CONNECTIONS}"))
            .arg(format!("--time={}", duration.as_secs().max(1)))
            .arg(format!("--define=payload={payload}"))
            .arg("--file")
            .arg(script)
            .args(["--host", url.host_str().context("no host")?])
            .args(["--port", &url.port().unwrap_or(5432).to_string()])
            .args(["--username", url.username()])
            .arg(&shop.name)
            .env("PGPASSWORD", url.password().unwrap_or_default());
        Ok(command)
    }
}

/// The statement with something in place of each parameter; from the last to the first, for `$1` begins `$12` too.
fn statement() -> String {
    let numbered = PARAMETERS.iter().enumerate().rev();
    numbered.fold(INSERT_ORDER.to_owned(), |sql, (index, value)| {
        sql.replace(&format!("${}", index + 1), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_value() {
        assert!(!statement().contains('$'));
    }
}
