//! Signing in and staying so, where several try at once and where the tables are looked into.

use crate::alone;
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::{join_all, try_join, try_join_all};
use serde_json::{Value, json};
use shop_tests::{Actor, Answer, Shop, eventually};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many try at once.
const AT_ONCE: usize = 24;

/// How long others may take to run into a lock.
const PATIENCE: Duration = Duration::from_secs(10);

const PASSWORD: &str = "correct horse battery";

async fn shop_with(variables: &[(&str, &str)]) -> Result<Shop> {
    let mut shop = Shop::prepare().await?;
    shop.set_variables(variables)?;
    shop.start_host().await?;
    Ok(shop)
}

async fn refresh(actor: &Actor, token: &str) -> Result<Answer> {
    actor
        .post("/api/auth/refresh", &json!({"refresh_token": token}))
        .await
}

fn refresh_token(answer: &Answer) -> Result<String> {
    let token = answer.expect(200)?["refresh_token"].as_str().map(str::to_owned);
    token.context("no refresh token")
}

async fn log_in(actor: &Actor, email: &str, password: &str) -> Result<Answer> {
    actor
        .post("/api/auth/login", &json!({"email": email, "password": password}))
        .await
}

fn statuses(answers: &[Answer]) -> BTreeMap<u16, usize> {
    let mut counted = BTreeMap::new();
    for answer in answers {
        *counted.entry(answer.status.as_u16()).or_default() += 1;
    }
    counted
}

/// The role that an access token claims.
fn role(answer: &Answer) -> Result<Value> {
    let body = answer.expect(200)?;
    let token = body["access_token"].as_str().context("no access token")?;
    let claims = token.split('.').nth(1).context("no claims")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    Ok(claims["role"].clone())
}

/// What the host has logged with this message.
fn logged(shop: &Shop, message: &str) -> Result<Vec<Value>> {
    let log = shop.whole_log("host")?;
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok(lines.filter(|line: &Value| line["message"] == message).collect())
}

#[tokio::test]
async fn of_one_refresh_token_used_many_times_at_once_one_line_lives_on() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let anybody = shop.anonymous()?;
    for _ in 0..10 {
        let user = anybody.register().await?;
        let token = user.refresh_token.context("no refresh token")?;
        // All of them may be one client whose answers were lost: each has one, and all are of one generation.
        let answers = try_join_all((0..AT_ONCE).map(|_| refresh(&anybody, &token))).await?;
        let successors = answers.iter().map(refresh_token).collect::<Result<Vec<_>>>()?;
        assert_eq!(
            shop.count("select max(generation) from auth.sessions").await?,
            1,
            "an exchange was made twice"
        );
        // The first that is used decides. All others, whenever they come, are copies, and end the session.
        let answers = try_join_all(successors.iter().map(|token| refresh(&anybody, token))).await?;
        let alive = answers.iter().filter(|answer| answer.status == 200);
        let heirs = alive.map(refresh_token).collect::<Result<Vec<_>>>()?;
        ensure!(heirs.len() <= 1, "{:?}", statuses(&answers));
        for token in heirs.iter().chain(&successors).chain([&token]) {
            refresh(&anybody, token)
                .await?
                .expect_problem(401, "unauthorized")?;
        }
        let open = "select count(*) from auth.sessions where revoked_at is null
            and user_id <> all (select id from auth.users where email like '%@example.com' and role <> 'user')";
        assert_eq!(shop.count(open).await?, 0);
        shop.database()
            .await?
            .batch_execute("delete from auth.refresh_tokens; delete from auth.sessions")
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_late_ends_its_session() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let anybody = shop.anonymous()?;
    let user = anybody.register().await?;
    let first = user.refresh_token.context("no refresh token")?;
    let second = refresh_token(&refresh(&anybody, &first).await?)?;
    shop.database()
        .await?
        .batch_execute("update auth.sessions set exchanged_at = exchanged_at - interval '11 seconds'")
        .await?;
    for token in [&first, &second] {
        refresh(&anybody, token)
            .await?
            .expect_problem(401, "unauthorized")?;
    }
    let log = shop.log("host");
    ensure!(log.contains("refresh token reused, session revoked"), "{log}");
    for token in [&first, &second] {
        ensure!(!log.contains(token.as_str()), "a token is in the log");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_ends_when_its_time_is_over_and_is_pruned() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[("refresh_ttl_seconds", "86400")]).await?;
    let anybody = shop.anonymous()?;
    let user = anybody.register().await?;
    let token = refresh_token(&refresh(&anybody, &user.refresh_token.context("no refresh token")?).await?)?;
    let database = shop.database().await?;
    let kept: Vec<u8> = database
        .query_one("select token_hash from auth.refresh_tokens limit 1", &[])
        .await?
        .try_get(0)?;
    assert_eq!(kept.len(), 32);
    database
        .batch_execute(
            "update auth.sessions set expires_at = expires_at - interval '1 day';
            update auth.refresh_tokens set expires_at = expires_at - interval '1 day'",
        )
        .await?;
    refresh(&anybody, &token)
        .await?
        .expect_problem(401, "unauthorized")?;
    // Whoever comes next takes them away: the tokens first, then the sessions that have none left.
    for _ in 0..2 {
        let email = user.email.as_deref().context("no address")?;
        log_in(&anybody, email, PASSWORD).await?.expect(200)?;
    }
    assert_eq!(shop.count("select count(*) from auth.sessions").await?, 2);
    assert_eq!(shop.count("select count(*) from auth.refresh_tokens").await?, 2);
    Ok(())
}

#[tokio::test]
async fn who_is_changed_while_they_sign_in_and_refresh_is_what_they_are_then() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let anybody = shop.anonymous()?;
    let user = anybody.register().await?;
    let email = user.email.context("no address")?;
    let token = user.refresh_token.context("no refresh token")?;
    let mut database = shop.database().await?;
    // Changes the user as an admin's change does, and ends that only when a login and a refresh wait for it: both have
    // read what the user was before.
    let mut meanwhile = async |change: &str| -> Result<(Answer, Answer)> {
        let transaction = database.transaction().await?;
        let change = format!("update auth.users set {change}, version = version + 1 where email = $1");
        transaction.execute(&change, &[&email]).await?;
        let answers = try_join(log_in(&anybody, &email, PASSWORD), refresh(&anybody, &token));
        let end = async {
            eventually("both wait", PATIENCE, async || {
                let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'";
                Ok((shop.count(waiting).await? == 2).then_some(()))
            })
            .await?;
            Ok(transaction.commit().await?)
        };
        let (answers, ()) = try_join(answers, end).await?;
        Ok(answers)
    };
    let (login, refreshed) = meanwhile("role = 'courier'").await?;
    assert_eq!(
        (role(&login)?, role(&refreshed)?),
        (json!("courier"), json!("courier"))
    );

    let deactivated = "is_active = false, session_epoch = session_epoch + 1";
    let (login, refreshed) = meanwhile(deactivated).await?;
    for answer in [login, refreshed] {
        answer.expect_problem(401, "unauthorized")?;
    }
    Ok(())
}

#[tokio::test]
async fn two_admins_who_remove_each_other_leave_one() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[("bcrypt_cost", "4")]).await?;
    let anybody = shop.anonymous()?;
    let one = anybody.admin().await?;
    let other = anybody.register().await?;
    let email = other.email.clone().context("no address")?;
    let database = shop.database().await?;
    let promote = "update auth.users set role = 'admin', is_active = true, version = version + 1
        where email in ('admin@example.com', $1)";
    database.execute(promote, &[&email]).await?;
    let other = anybody.login(&email, PASSWORD).await?;
    let ids = [&one, &other].map(|admin| admin.id.clone().unwrap_or_default());
    let mut refused = 0;
    for round in 0..50 {
        let patch = if round % 2 == 0 {
            json!({"role": "user"})
        } else {
            json!({"is_active": false})
        };
        let remove =
            async |admin: &Actor, id: &str| admin.patch(&format!("/api/auth/users/{id}"), &patch).await;
        let answers: Vec<Answer> = join_all([remove(&one, &ids[1]), remove(&other, &ids[0])])
            .await
            .into_iter()
            .collect::<Result<_>>()?;
        let admins = "select count(*) from auth.users where role = 'admin' and is_active";
        assert_eq!(shop.count(admins).await?, 1, "{:?}", statuses(&answers));
        for answer in &answers {
            match answer.status.as_u16() {
                200 => {}
                409 => {
                    answer.expect_problem(409, "last-admin")?;
                    refused += 1;
                }
                // Removed before they asked.
                401 | 403 => {}
                _ => anyhow::bail!("{}", answer.text),
            }
        }
        database.execute(promote, &[&email]).await?;
    }
    ensure!(refused > 0, "they never met");
    Ok(())
}

#[tokio::test]
async fn of_many_guesses_at_once_no_more_are_looked_at_than_may_fail() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let anybody = shop.anonymous()?;
    let user = anybody.register().await?;
    let known = user.email.clone().context("no address")?;
    for email in [known.as_str(), "nobody@example.com"] {
        let answers = try_join_all((0..AT_ONCE).map(|_| log_in(&anybody, email, "not it at all"))).await?;
        assert_eq!(
            statuses(&answers),
            BTreeMap::from([(401, 10), (429, AT_ONCE - 10)]),
            "{email}"
        );
        let held = log_in(&anybody, email, PASSWORD).await?;
        held.expect_problem(429, "too-many-failed-logins")?;
        let seconds: u32 = held.header("retry-after").parse()?;
        ensure!((1..=60).contains(&seconds), "{seconds}");
    }
    assert_eq!(logged(&shop, "login held back")?.len(), 2 * (AT_ONCE - 10 + 1));
    ensure!(
        !shop.whole_log("host")?.contains(&known),
        "an address is in the log"
    );
    // Who is signed in stays so.
    user.get("/api/auth/me").await?.expect(200)?;
    refresh(&anybody, &user.refresh_token.context("no refresh token")?)
        .await?
        .expect(200)?;
    // When the hold is over one may try, and the owner is let in.
    shop.database()
        .await?
        .batch_execute(
            "update auth.login_guesses
            set failed = array(select at - interval '61 seconds' from unnest(failed) as at)",
        )
        .await?;
    log_in(&anybody, &known, PASSWORD).await?.expect(200)?;
    log_in(&anybody, &known, "not it at all").await?.expect(401)?;
    log_in(&anybody, &known, PASSWORD)
        .await?
        .expect_problem(429, "too-many-failed-logins")?;
    Ok(())
}

#[tokio::test]
async fn many_who_sign_in_at_once_with_the_right_password_all_do() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let anybody = shop.anonymous()?;
    let user = anybody.register().await?;
    let email = user.email.context("no address")?;
    let answers = try_join_all((0..2 * AT_ONCE).map(|_| log_in(&anybody, &email, PASSWORD))).await?;
    assert_eq!(statuses(&answers), BTreeMap::from([(200, 2 * AT_ONCE)]));
    Ok(())
}

#[tokio::test]
async fn a_stranger_does_not_keep_the_owner_out_where_they_are_known() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let (owner, stranger) = (
        shop.anonymous()?.from_address([127, 0, 0, 2].into())?,
        shop.anonymous()?.from_address([127, 0, 0, 3].into())?,
    );
    let email = owner.register().await?.email.context("no address")?;
    for _ in 0..10 {
        log_in(&stranger, &email, "not it at all").await?.expect(401)?;
    }
    log_in(&stranger, &email, PASSWORD).await?.expect(429)?;
    log_in(&owner, &email, PASSWORD).await?.expect(200)?;
    // What the stranger says of where they are is not believed.
    let body = json!({"email": email, "password": PASSWORD});
    let request = stranger
        .request(reqwest::Method::POST, "/api/auth/login")
        .header("x-shop-client-addr", "127.0.0.2")
        .json(&body);
    stranger.send(request).await?.expect(429)?;
    Ok(())
}

#[tokio::test]
async fn one_address_is_held_back_from_a_hundred_failures_a_minute() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let (guesser, other) = (
        shop.anonymous()?.from_address([127, 0, 0, 4].into())?,
        shop.anonymous()?.from_address([127, 0, 0, 5].into())?,
    );
    let user = other.register().await?;
    let email = user.email.context("no address")?;
    for number in 0..100 {
        log_in(&guesser, &format!("nobody-{number}@example.com"), "not it at all")
            .await?
            .expect(401)?;
    }
    log_in(&guesser, &email, PASSWORD)
        .await?
        .expect_problem(429, "too-many-failed-logins")?;
    log_in(&other, &email, PASSWORD).await?.expect(200)?;
    // What was given back counts nowhere.
    assert_eq!(
        shop.count("select sum(cardinality(pending)) from auth.login_guesses")
            .await?,
        0
    );
    Ok(())
}

#[tokio::test]
async fn a_hash_is_upgraded_when_its_owner_signs_in() -> Result<()> {
    let _alone = alone().await;
    let mut shop = shop_with(&[("bcrypt_cost", "4")]).await?;
    let anybody = shop.anonymous()?;
    let email = anybody.register().await?.email.context("no address")?;
    shop.stop_host().await?;
    shop.set_variables(&[("bcrypt_cost", "5")])?;
    shop.start_host().await?;
    let hash = async || -> Result<String> {
        let query = "select password_hash from auth.users where email = $1";
        Ok(shop
            .database()
            .await?
            .query_one(query, &[&email])
            .await?
            .try_get(0)?)
    };
    log_in(&anybody, &email, "not it at all").await?.expect(401)?;
    ensure!(hash().await?.starts_with("$2b$04$"));
    log_in(&anybody, &email, PASSWORD).await?.expect(200)?;
    ensure!(hash().await?.starts_with("$2b$05$"));
    log_in(&anybody, &email, PASSWORD).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_deactivated_user_is_out_at_once_and_their_sessions_for_good() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let anybody = shop.anonymous()?;
    let (admin, user) = (anybody.admin().await?, anybody.register().await?);
    let path = format!("/api/auth/users/{}", user.id.as_deref().unwrap_or_default());
    let set_active = async |is_active: bool| -> Result<Value> {
        admin
            .patch(&path, &json!({"is_active": is_active}))
            .await?
            .expect(200)
    };
    assert_eq!(set_active(false).await?["is_active"], false);
    user.get("/api/auth/me")
        .await?
        .expect_problem(401, "unauthorized")?;
    let token = user.refresh_token.context("no refresh token")?;
    refresh(&anybody, &token)
        .await?
        .expect_problem(401, "unauthorized")?;
    let email = user.email.context("no address")?;
    log_in(&anybody, &email, PASSWORD)
        .await?
        .expect_problem(401, "unauthorized")?;
    set_active(true).await?;
    refresh(&anybody, &token)
        .await?
        .expect_problem(401, "unauthorized")?;
    log_in(&anybody, &email, PASSWORD).await?.expect(200)?;
    // It is so already: nothing has happened.
    set_active(true).await?;
    let changes = logged(&shop, "user changed")?;
    let activity: Vec<&Value> = changes.iter().map(|change| &change["is_active"]).collect();
    assert_eq!(activity, ["false", "true"]);
    for change in &changes {
        assert_eq!(change["user_id"].as_str(), user.id.as_deref());
        assert_eq!(change["admin_id"].as_str(), admin.id.as_deref());
        assert_eq!(change["role"], "user");
    }
    Ok(())
}
