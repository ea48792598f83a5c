//! Schemathesis holds the shop against the description that it serves: it reads `/api/openapi.json`, sends what that
//! allows and what it forbids, alone and in sequences, and all its checks are on. Each run has a shop of its own, for
//! it makes, changes and deletes whatever it is let.

use crate::alone;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shop_tests::environment::{root, variable};
use shop_tests::{Actor, Shop};
use std::time::Duration;
use tokio::process::Command;

/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(400);

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| item["id"].as_str().map(str::to_owned))
        .collect()
}

/// What there is that the actor may talk of, for `tests/schemathesis/hooks.py`: orders of theirs, some on their way and
/// some that may be paid again, with their payments and shipments.
async fn things(shop: &Shop, actor: &Actor) -> Result<[(&'static str, String); 5]> {
    let flowers = ids(&actor.get("/api/catalog/flowers?limit=100").await?.expect(200)?);
    let bouquets = ids(&actor.get("/api/catalog/bouquets").await?.expect(200)?);
    let flower = flowers.first().context("no flowers")?;
    let staff = shop.anonymous()?.admin().await?;
    let (mut orders, mut payments, mut shipments) = (Vec::new(), Vec::new(), Vec::new());
    for (method, status) in [
        ("pm_card_visa", "shipping"),
        ("pm_card_chargeDeclined", "payment_failed"),
    ] {
        for _ in 0..3 {
            let order = actor.order_once_known(flower, method).await?;
            actor.await_status(&order, status).await?;
            let of_order = actor.get(&format!("/api/payments/order/{order}")).await?;
            payments.extend(ids(&of_order.expect(200)?));
            if status == "shipping" {
                let of_order = staff
                    .get(&format!("/api/delivery/order/{order}"))
                    .await?
                    .expect(200)?;
                shipments.extend(of_order["id"].as_str().map(str::to_owned));
            }
            orders.push(order);
        }
    }
    Ok([
        ("SHOP_FLOWERS", flowers.join(",")),
        ("SHOP_BOUQUETS", bouquets.join(",")),
        ("SHOP_ORDERS", orders.join(",")),
        ("SHOP_PAYMENTS", payments.join(",")),
        ("SHOP_SHIPMENTS", shipments.join(",")),
    ])
}

async fn finds_nothing(sign_in: impl AsyncFnOnce(&Actor) -> Result<Actor>) -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start().await?;
    let anybody = shop.anonymous()?;
    let actor = sign_in(&anybody).await?;
    let things = things(&shop, &actor).await?;
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
        .envs(things)
        .env("SHOP_TOKEN", actor.token().context("not signed in")?)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", root().join("tests/schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
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
