//! The keys of access tokens: rotated while people are signed in, and of either kind.

use crate::alone;
use anyhow::{Context, Result, ensure};
use shop_tests::{Actor, Shop};

const OLD: &str = "the-old-key-of-at-least-thirty-two-bytes";
/// The seed and the public key of RFC 8032, section 7.1, test 1.
const NEW: &str = "ed25519:nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const NEW_PUBLIC: &str = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// Has the shop started anew with these keys, as an operator would.
async fn restart(shop: &mut Shop, signing: &str, verification: &str) -> Result<()> {
    shop.stop_host().await?;
    shop.set_variables(&[
        ("jwt_signing_key", signing),
        ("jwt_verification_keys", verification),
    ])?;
    shop.start_host().await
}

/// Every service believes a token, or none does.
async fn expect_believed(actor: &Actor, is_believed: bool) -> Result<()> {
    for path in [
        "/api/auth/me",
        "/api/orders",
        "/api/payments/x",
        "/api/delivery/x",
    ] {
        let answer = actor.get(path).await?;
        let unauthorized = answer.status == 401;
        ensure!(
            unauthorized != is_believed,
            "{path}: {} {}",
            answer.status,
            answer.text
        );
    }
    // The catalog asks who somebody is before they may change it.
    let answer = actor.post("/api/catalog/flowers", &serde_json::json!({})).await?;
    let expected = if is_believed { 403 } else { 401 };
    ensure!(answer.status == expected, "catalog: {}", answer.status);
    Ok(())
}

#[tokio::test]
async fn keys_are_rotated_without_logging_anyone_out() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    restart(&mut shop, OLD, OLD).await?;
    let anybody = shop.anonymous()?;
    let early = anybody.register().await?;
    expect_believed(&early, true).await?;

    // First every verifier learns the new key, then auth signs with it; both kinds stand side by side.
    let both = format!("{OLD} {NEW_PUBLIC}");
    restart(&mut shop, OLD, &both).await?;
    expect_believed(&early, true).await?;
    restart(&mut shop, NEW, &both).await?;
    let late = anybody.register().await?;
    for user in [&early, &late] {
        expect_believed(user, true).await?;
    }

    // When the last token of the old key has ended, the key goes. Who was signed in all the time is by a refresh.
    let body = serde_json::json!({"refresh_token": early.refresh_token});
    let refreshed = anybody.post("/api/auth/refresh", &body).await?.expect(200)?;
    let refreshed = anybody.with_token(refreshed["access_token"].as_str().context("no token")?);
    restart(&mut shop, NEW, NEW_PUBLIC).await?;
    expect_believed(&early, false).await?;
    for user in [&late, &refreshed] {
        expect_believed(user, true).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_public_key_that_lost_its_prefix_is_no_secret_that_everybody_has() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    let bare = NEW_PUBLIC.trim_start_matches("ed25519:");
    let keys = format!("{OLD} {bare}");
    shop.set_variables(&[("jwt_signing_key", OLD), ("jwt_verification_keys", &keys)])?;
    shop.start_host_unchecked().await?;
    let answer = shop.anonymous()?.get("/api/orders").await?;
    answer.expect_problem(503, "unavailable")?;
    let log = shop.whole_log("host")?;
    ensure!(
        log.contains("jwt_verification_keys holds what may be an Ed25519 key"),
        "{log}"
    );
    ensure!(!log.contains(bare) && !log.contains(OLD), "a key is in the log");
    Ok(())
}

#[tokio::test]
async fn auth_does_not_sign_what_nobody_would_believe() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    // The steps of a rotation in the wrong order, and the seed where the public key belongs.
    for keys in [OLD, NEW] {
        shop.set_variables(&[("jwt_signing_key", NEW), ("jwt_verification_keys", keys)])?;
        shop.start_host_unchecked().await?;
        let answer = shop.anonymous()?.get("/api/auth/me").await?;
        answer.expect_problem(503, "unavailable")?;
        let log = shop.log("host");
        ensure!(log.contains("jwt_signing_key has no counterpart"), "{log}");
        ensure!(!log.contains(NEW) && !log.contains(OLD), "a key is in the log");
        shop.stop_host().await?;
    }
    Ok(())
}
