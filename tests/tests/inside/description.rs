//! Schemathesis holds the shop against the description that it serves: it reads `/api/openapi.json`, sends what that
//! allows and what it forbids, alone and in sequences, and all its checks are on. Each run has a shop of its own, for
//! it makes, changes and deletes whatever it is let.

use crate::alone;
use anyhow::{Context, Result, ensure};
use shop_tests::environment::{root, variable};
use shop_tests::{Actor, Shop};
use std::time::Duration;
use tokio::process::Command;

/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(400);

async fn finds_nothing(sign_in: impl AsyncFnOnce(&Actor) -> Result<Actor>) -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start().await?;
    let anybody = shop.anonymous()?;
    let actor = sign_in(&anybody).await?;
    let described = anybody.get("/api/openapi.json").await?.expect(200)?;
    let paths = described["paths"].as_object().context("no paths")?.values();
    let operations: usize = paths
        .filter_map(|item| item.as_object())
        .map(serde_json::Map::len)
        .sum();

    let mut command = Command::new(variable("SHOP_TEST_SCHEMATHESIS")?);
    command
        .current_dir(shop.folder())
        .arg("--config-file")
        .arg(root().join("tests/schemathesis/schemathesis.toml"))
        .args(["run", &format!("{}/api/openapi.json", shop.base)])
        .args(["--seed", &variable("SHOP_TEST_SCHEMATHESIS_SEED")?])
        .env("SHOP_TOKEN", actor.token().context("not signed in")?)
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .context("Schemathesis does not come to an end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{said}\n{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        shop.log("host")
    );
    // Where it read the document, it does not ask again.
    let tested = format!("Tested: {}", operations - 1);
    ensure!(said.contains(&tested), "not {tested}: {said}");
    println!("{said}");
    // Whatever it did, no rule of the shop was broken.
    shop.expect_clean_audit().await?;
    Ok(())
}

#[tokio::test]
async fn schemathesis_finds_nothing_as_an_admin() -> Result<()> {
    finds_nothing(Actor::admin).await
}

#[tokio::test]
async fn schemathesis_finds_nothing_as_a_user() -> Result<()> {
    finds_nothing(Actor::register).await
}
