//! Registering and signing in.

use crate::anybody;
use anyhow::Result;
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
    for password in ["", "1234567", &"x".repeat(129)] {
        let body = json!({"email": fresh_email(), "password": password});
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
