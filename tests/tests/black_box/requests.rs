//! The common rules of requests: what is no JSON, no object, too large, of another type, on another method.

use crate::anybody;
use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use shop_tests::{Actor, Answer};

async fn post_raw(
    actor: &Actor,
    path: &str,
    content_type: Option<&str>,
    body: impl Into<reqwest::Body>,
) -> Result<Answer> {
    let mut request = actor.request(Method::POST, path).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    actor.send(request).await
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_404() -> Result<()> {
    let user = anybody()?.register().await?;
    let paths = [
        "/",
        "/nowhere",
        "/api",
        "/api/",
        "/api/nowhere",
        "/api/ordersx",
        "/api/orders/",
        "/api/orders/a/b/c",
        "/api/v2/orders",
        "/api/auth",
        "/internal",
        "/internal/nobody/events",
        "/api/internal/ordering/events",
    ];
    for path in paths {
        let problem = user.get(path).await?.expect_problem(404, "no-route")?;
        assert_eq!(problem["instance"], path);
    }
    Ok(())
}

#[tokio::test]
async fn a_method_that_a_route_does_not_take_is_405_and_says_which_it_takes() -> Result<()> {
    let user = anybody()?.register().await?;
    for (path, allowed) in [
        ("/api/orders", "POST"),
        ("/api/catalog/flowers", "GET"),
        ("/api/auth/me", "GET"),
    ] {
        let answer = user.send(user.request(Method::PUT, path)).await?;
        answer.expect_problem(405, "method-not-allowed")?;
        assert!(answer.header("allow").contains(allowed), "{:?}", answer.headers);
    }
    Ok(())
}

#[tokio::test]
async fn bad_bodies_are_refused_in_the_documented_order() -> Result<()> {
    let user = anybody()?.register().await?;
    let json = Some("application/json");
    for (content_type, body, status) in [
        (None, "{}", 415),
        (Some("text/plain"), "{}", 415),
        (Some("application/json; charset=latin1"), "{}", 415),
        (json, "", 400),
        (json, "{", 400),
        (json, "{}x", 400),
        (Some("application/json; charset=utf-8"), "{}", 422),
        (Some("Application/JSON;charset=UTF-8"), "{}", 422),
        (json, "[]", 422),
        (json, "[[]]", 422),
        (json, "\"x\"", 422),
        (json, "null", 422),
        (
            json,
            r#"{"items": [], "items": [], "delivery_address": "x"}"#,
            422,
        ),
    ] {
        let answer = post_raw(&user, "/api/orders", content_type, body).await?;
        assert_eq!(answer.status, status, "{content_type:?} {body}: {}", answer.text);
    }
    let not_utf8 = post_raw(&user, "/api/orders", json, b"{\"items\": \"\xff\"}".to_vec()).await?;
    assert_eq!(not_utf8.status, 400, "{}", not_utf8.text);

    let large = "x".repeat(64 * 1024 + 1);
    post_raw(&user, "/api/orders", Some("text/plain"), large.clone())
        .await?
        .expect_problem(413, "body-too-large")?;
    post_raw(&anybody()?, "/api/orders", json, large)
        .await?
        .expect_problem(401, "unauthorized")?;
    let megabyte = "x".repeat(1024 * 1024);
    post_raw(&user, "/api/orders", json, megabyte)
        .await?
        .expect_problem(413, "body-too-large")?;
    Ok(())
}

#[tokio::test]
async fn every_answer_names_its_request() -> Result<()> {
    let anybody = anybody()?;
    for path in ["/health", "/api/catalog/flowers", "/api/auth/me", "/nowhere"] {
        let request = anybody
            .request(Method::GET, path)
            .header("x-request-id", "mine-1.2_3");
        assert_eq!(
            anybody.send(request).await?.header("x-request-id"),
            "mine-1.2_3",
            "{path}"
        );
        let request = anybody
            .request(Method::GET, path)
            .header("x-request-id", "no\tgood id");
        let id = anybody.send(request).await?.header("x-request-id").to_owned();
        assert!(id.len() == 36, "{path}: {id:?}");
    }
    Ok(())
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() -> Result<()> {
    let anybody = anybody()?;
    let get = anybody.get("/api/catalog/categories").await?;
    let head = anybody
        .send(anybody.request(Method::HEAD, "/api/catalog/categories"))
        .await?;
    assert_eq!(head.status, 200);
    assert_eq!(head.text, "");
    assert_eq!(head.header("content-type"), get.header("content-type"));
    Ok(())
}

#[tokio::test]
async fn the_versioned_spelling_answers_the_same() -> Result<()> {
    let user = anybody()?.register().await?;
    let plain = user.get("/api/auth/me").await?.expect(200)?;
    assert_eq!(user.get("/api/v1/auth/me").await?.expect(200)?, plain);
    assert_eq!(user.get("/auth/me").await?.expect(200)?, plain);

    let problem = user
        .get("/api/v1/orders/1")
        .await?
        .expect_problem(404, "not-found")?;
    assert_eq!(problem["instance"], "/api/v1/orders/1");
    let admin = anybody()?.admin().await?;
    let category = json!({"name": format!("Versioned {}", uuid::Uuid::now_v7())});
    let answer = admin.post("/api/v1/catalog/categories", &category).await?;
    answer.expect(201)?;
    assert!(
        answer
            .header("location")
            .starts_with("/api/v1/catalog/categories/"),
        "{:?}",
        answer.headers
    );
    Ok(())
}
