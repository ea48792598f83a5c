//! Registering and signing in.

use crate::anybody;
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

fn fresh_email() -> String {
    format!("Someone.{}@Example.com", Uuid::now_v7())
}

#[tokio::test]
async fn a_registered_user_is_signed_in_and_can_sign_in_again() -> Result<()> {
    let anybody = anybody()?;
    let email = fresh_email();
    let password = "пароль из десяти слов \u{1F339}";
    let body = json!({"email": email, "password": password, "full_name": " Rose Gardener "});
    let registered = anybody.post("/api/auth/register", &body).await?.expect(201)?;
    assert_eq!(registered["token_type"], "bearer");
    assert!(
        registered["expires_in"]
            .as_i64()
            .is_some_and(|seconds| seconds > 0),
        "{registered}"
    );
    assert_eq!(registered["user"]["role"], "user");
    assert_eq!(registered["user"]["is_active"], true);
    assert_eq!(registered["user"]["full_name"], "Rose Gardener");
    assert!(!registered.to_string().contains(password), "{registered}");

    let user = anybody.login(&email.to_lowercase(), password).await?;
    let me = user.get("/api/auth/me").await?.expect(200)?;
    assert_eq!(me, registered["user"]);
    Ok(())
}

#[tokio::test]
async fn an_address_is_taken_whatever_its_case() -> Result<()> {
    let anybody = anybody()?;
    let email = fresh_email();
    let body = |email: &str| json!({"email": email, "password": "correct horse battery"});
    anybody
        .post("/api/auth/register", &body(&email))
        .await?
        .expect(201)?;
    let again = anybody
        .post("/api/auth/register", &body(&email.to_uppercase()))
        .await?;
    assert_eq!(again.status, 409, "{}", again.text);
    Ok(())
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_are_told_apart_by_nothing() -> Result<()> {
    let anybody = anybody()?;
    let user = anybody.register().await?;
    let login = |email: Value, password: &str| json!({"email": email, "password": password});
    let wrong = login(json!(user.email), "not the password");
    let unknown = login(json!(fresh_email()), "not the password");
    let wrong = anybody.post("/api/auth/login", &wrong).await?.expect(401)?;
    let unknown = anybody.post("/api/auth/login", &unknown).await?.expect(401)?;
    assert_eq!(wrong, unknown);
    Ok(())
}

#[tokio::test]
async fn all_characters_of_a_long_password_count() -> Result<()> {
    let anybody = anybody()?;
    let email = fresh_email();
    let password = format!("{}\u{0}a", "x".repeat(100));
    let other = format!("{}\u{0}b", "x".repeat(100));
    let body = |password: &str| json!({"email": email, "password": password});
    anybody
        .post("/api/auth/register", &body(&password))
        .await?
        .expect(201)?;
    anybody
        .post("/api/auth/login", &body(&other))
        .await?
        .expect(401)?;
    anybody
        .post("/api/auth/login", &body(&password))
        .await?
        .expect(200)?;
    Ok(())
}

#[tokio::test]
async fn bad_accounts_are_422() -> Result<()> {
    let anybody = anybody()?;
    let long_local = format!("{}@example.com", "a".repeat(65));
    let long = format!("a@{}.com", "b".repeat(250));
    for email in [
        "",
        "rose",
        "@example.com",
        "rose@",
        "a@b@c",
        "a b@example.com",
        &long_local,
        &long,
    ] {
        let body = json!({"email": email, "password": "correct horse battery"});
        anybody
            .post("/api/auth/register", &body)
            .await?
            .expect_problem(422, "validation")?;
    }
    let email = fresh_email();
    let own = email.to_lowercase();
    let own_name = own.split('@').next().unwrap_or_default();
    for password in [
        "",
        "1234567",
        &"x".repeat(129),
        // Guessed first.
        "password",
        "Password123!",
        "12345678",
        "qwertyuiop",
        "ｐａｓｓｗｏｒｄ１",
        &own,
        own_name,
        "FlowerShop",
    ] {
        let body = json!({"email": email, "password": password});
        anybody
            .post("/api/auth/register", &body)
            .await?
            .expect_problem(422, "validation")?;
    }
    let body = json!({"email": fresh_email(), "password": "correct horse battery", "role": "admin"});
    anybody
        .post("/api/auth/register", &body)
        .await?
        .expect_problem(422, "validation")?;
    Ok(())
}

fn token_of(body: &Value) -> Result<String> {
    let token = body["refresh_token"].as_str().map(str::to_owned);
    token.context("no refresh token")
}

#[tokio::test]
async fn a_refresh_token_gives_new_tokens_and_is_used_once() -> Result<()> {
    let anybody = anybody()?;
    let user = anybody.register().await?;
    let first = user.refresh_token.clone().context("no refresh token")?;
    assert!(first.starts_with("flowershop_refresh_"), "{first}");
    let refresh = async |token: &str| {
        anybody
            .post("/api/auth/refresh", &json!({"refresh_token": token}))
            .await
    };

    let answer = refresh(&first).await?;
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.expect(200)?;
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["user"]["id"].as_str(), user.id.as_deref());
    let again = anybody.with_token(body["access_token"].as_str().context("no token")?);
    again.get("/api/auth/me").await?.expect(200)?;

    // An answer that was lost is given again, until the successor is used.
    let second = token_of(&refresh(&first).await?.expect(200)?)?;
    let third = token_of(&refresh(&second).await?.expect(200)?)?;
    refresh(&first).await?.expect_problem(401, "unauthorized")?;
    // Reuse ends the session, for its owner too.
    refresh(&third).await?.expect_problem(401, "unauthorized")?;
    // Another session of theirs goes on.
    let email = user.email.as_deref().context("no address")?;
    let other = anybody.login(email, "correct horse battery").await?;
    refresh(&other.refresh_token.context("no refresh token")?)
        .await?
        .expect(200)?;
    Ok(())
}

#[tokio::test]
async fn logging_out_ends_the_session_and_is_never_refused() -> Result<()> {
    let anybody = anybody()?;
    let user = anybody.register().await?;
    let body = json!({"refresh_token": user.refresh_token});
    for _ in 0..2 {
        let answer = anybody.post("/api/auth/logout", &body).await?;
        answer.expect(204)?;
        assert_eq!(answer.text, "");
    }
    anybody
        .post("/api/auth/refresh", &body)
        .await?
        .expect_problem(401, "unauthorized")?;
    for nobodys in ["", "nobody's", "flowershop_refresh_AAAA"] {
        let body = json!({"refresh_token": nobodys});
        anybody.post("/api/auth/logout", &body).await?.expect(204)?;
        anybody
            .post("/api/auth/refresh", &body)
            .await?
            .expect_problem(401, "unauthorized")?;
    }
    for path in ["/api/auth/logout", "/api/auth/refresh"] {
        for body in [json!({}), json!({"refresh_token": null}), json!({"token": "x"})] {
            anybody
                .post(path, &body)
                .await?
                .expect_problem(422, "validation")?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_admin_finds_and_changes_users_and_nobody_else_does() -> Result<()> {
    let anybody = anybody()?;
    let (admin, user) = (anybody.admin().await?, anybody.register().await?);
    let email = user.email.clone().context("no address")?;
    let id = user.id.clone().context("no id")?;
    let path = format!("/api/auth/users/{id}");

    let found = admin
        .get(&format!("/api/auth/users?email={}", email.to_uppercase()))
        .await?
        .expect(200)?;
    assert_eq!(
        (&found["total"], &found["items"][0]["id"]),
        (&json!(1), &json!(id))
    );
    let page = admin
        .get("/api/auth/users?role=courier&is_active=true&limit=1")
        .await?
        .expect(200)?;
    assert_eq!(page["items"][0]["role"], "courier");
    for query in ["email=rose", "role=root", "is_active=yes", "limit=0"] {
        admin
            .get(&format!("/api/auth/users?{query}"))
            .await?
            .expect_problem(422, "validation")?;
    }

    let shown = admin.get(&path).await?;
    let stale = shown.header("etag").to_owned();
    assert_eq!(shown.expect(200)?["role"], "user");
    let changed = admin.patch(&path, &json!({"role": "courier"})).await?;
    assert_eq!(changed.expect(200)?["role"], "courier");
    assert_ne!(changed.header("etag"), stale);
    let patch = |tag: &str| {
        let request = admin.request(Method::PATCH, &path).header("if-match", tag);
        request.json(&json!({"role": "user"}))
    };
    admin.send(patch(&stale)).await?.expect_problem(412, "stale")?;
    admin.send(patch(changed.header("etag"))).await?.expect(200)?;
    for body in [
        json!({"role": "root"}),
        json!({"role": null}),
        json!({"is_active": 1}),
        json!({"email": "x@y"}),
    ] {
        admin
            .patch(&path, &body)
            .await?
            .expect_problem(422, "validation")?;
    }
    let nobody = "/api/auth/users/00000000-0000-7000-8000-000000000000";
    for nobody in [nobody, "/api/auth/users/x"] {
        admin
            .patch(nobody, &json!({"role": "user"}))
            .await?
            .expect_problem(404, "not-found")?;
        admin.get(nobody).await?.expect_problem(404, "not-found")?;
    }

    let courier = anybody.courier().await?;
    for (actor, status, slug) in [
        (&anybody, 401, "unauthorized"),
        (&user, 403, "forbidden"),
        (&courier, 403, "forbidden"),
    ] {
        actor.get("/api/auth/users").await?.expect_problem(status, slug)?;
        actor.get(&path).await?.expect_problem(status, slug)?;
        let patch = json!({"role": "admin"});
        actor.patch(&path, &patch).await?.expect_problem(status, slug)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_admin_who_was_demoted_cannot_undo_it_with_the_token_they_have() -> Result<()> {
    let anybody = anybody()?;
    let (admin, user) = (anybody.admin().await?, anybody.register().await?);
    let path = format!("/api/auth/users/{}", user.id.as_deref().unwrap_or_default());
    admin.patch(&path, &json!({"role": "admin"})).await?.expect(200)?;
    let email = user.email.as_deref().context("no address")?;
    let second = anybody.login(email, "correct horse battery").await?;
    second.get(&path).await?.expect(200)?;
    admin.patch(&path, &json!({"role": "user"})).await?.expect(200)?;
    second
        .patch(&path, &json!({"role": "admin"}))
        .await?
        .expect_problem(403, "forbidden")?;
    // The next token says what they are.
    let body = json!({"refresh_token": second.refresh_token});
    let refreshed = anybody.post("/api/auth/refresh", &body).await?.expect(200)?;
    assert_eq!(refreshed["user"]["role"], "user");
    Ok(())
}

#[tokio::test]
async fn the_eleventh_failed_login_is_held_whether_or_not_there_is_such_an_account() -> Result<()> {
    let anybody = anybody()?;
    let user = anybody.register().await?;
    let known = user.email.clone().context("no address")?;
    let mut answers = Vec::new();
    for email in [known, fresh_email()] {
        let body = json!({"email": email, "password": "not it at all"});
        for _ in 0..10 {
            anybody
                .post("/api/auth/login", &body)
                .await?
                .expect_problem(401, "unauthorized")?;
        }
        let held = anybody.post("/api/auth/login", &body).await?;
        let seconds: u32 = held.header("retry-after").parse()?;
        assert!((1..=60).contains(&seconds), "{seconds}");
        answers.push(held.expect_problem(429, "too-many-failed-logins")?);
    }
    assert_eq!(answers[0], answers[1]);
    user.get("/api/auth/me").await?.expect(200)?;
    Ok(())
}
