//! The tour of the README, command for command: a reader who copies it sees what it promises.

use anyhow::{Context, Result, ensure};
use shop_tests::environment::{root, variable};
use std::time::Duration;
use tokio::process::Command;

#[tokio::test]
async fn the_tour_of_the_readme_leads_to_a_completed_order() -> Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let tour = readme.split("## A tour").nth(1).context("no tour")?;
    let script = tour
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("no script")?;
    let bases = variable("SHOP_TEST_BASE_URL")?;
    let base = bases.split_whitespace().next().context("no shop")?;
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .env("SHOP", base)
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output())
        .await
        .context("the tour does not end")??;
    let seen = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{}: {seen}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    for promised in [
        "\"Red Rose\"",
        "\"status\":\"shipping\"",
        "\"status\":\"delivered\"",
        "ShipmentDelivered",
    ] {
        ensure!(
            seen.contains(promised),
            "the tour does not show {promised}: {seen}"
        );
    }
    Ok(())
}
