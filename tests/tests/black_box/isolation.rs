//! What belongs to somebody else, and tokens that nobody issued.

use crate::anybody;
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::environment::service_base;

#[tokio::test]
async fn nobody_reads_someone_elses_order_payment_or_shipment() -> Result<()> {
    let (owner, other, admin) = (
        anybody()?.register().await?,
        anybody()?.register().await?,
        anybody()?.admin().await?,
    );
    let rose = admin.add_flower("Rose of the owner", "150.00").await?;
    let order_id = owner.order_once_known(&rose, "pm_card_visa").await?;
    owner.await_status(&order_id, "shipping").await?;
    let payments = owner
        .get(&format!("/api/payments/order/{order_id}"))
        .await?
        .expect(200)?;
    let shipment = owner
        .get(&format!("/api/delivery/order/{order_id}"))
        .await?
        .expect(200)?;
    let id = |value: &Value| value["id"].as_str().map(str::to_owned).context("no id");
    let (payment_id, shipment_id) = (id(&payments["items"][0])?, id(&shipment)?);

    let paths = [
        format!("/api/orders/{order_id}"),
        format!("/api/orders/{order_id}/history"),
        format!("/api/payments/{payment_id}"),
        format!("/api/payments/order/{order_id}"),
        format!("/api/delivery/{shipment_id}"),
        format!("/api/delivery/order/{order_id}"),
    ];
    for path in &paths {
        owner.get(path).await?.expect(200)?;
        admin.get(path).await?.expect(200)?;
        other.get(path).await?.expect_problem(404, "not-found")?;
        anybody()?.get(path).await?.expect_problem(401, "unauthorized")?;
    }
    let deliver = format!("/api/delivery/{shipment_id}/deliver");
    for (actor, status, slug) in [(&other, 403, "forbidden"), (&owner, 403, "forbidden")] {
        actor
            .post(&deliver, &json!({}))
            .await?
            .expect_problem(status, slug)?;
        actor
            .post("/api/delivery/create", &json!({"order_id": order_id}))
            .await?
            .expect_problem(status, slug)?;
        actor.get("/api/delivery").await?.expect_problem(status, slug)?;
    }
    let listed = other.get("/api/orders").await?.expect(200)?;
    assert_eq!(listed["total"], 0);
    let theirs = other
        .get(&format!(
            "/api/orders?user_id={}",
            owner.id.clone().unwrap_or_default()
        ))
        .await?;
    assert_eq!(theirs.expect(200)?["total"], 0);
    Ok(())
}

#[tokio::test]
async fn an_id_that_is_no_uuid_or_of_nothing_is_404() -> Result<()> {
    let user = anybody()?.register().await?;
    for root in [
        "/api/orders",
        "/api/payments",
        "/api/delivery",
        "/api/catalog/flowers",
    ] {
        for id in [
            "1",
            "x%27--",
            "00000000-0000-7000-8000-000000000000",
            "%F0%9F%8C%B9",
        ] {
            user.get(&format!("{root}/{id}"))
                .await?
                .expect_problem(404, "not-found")?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn forged_tokens_are_401_on_every_service() -> Result<()> {
    let user = anybody()?.register().await?;
    let token = user.token().context("no token")?;
    let parts: Vec<&str> = token.split('.').collect();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1])?)?;
    for claim in [
        "sub", "user_id", "email", "role", "iss", "aud", "iat", "exp", "jti",
    ] {
        assert!(!claims[claim].is_null(), "the token lacks {claim}");
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut admin = claims.clone();
    admin["role"] = json!("admin");
    let none = encode(&json!({"alg": "none", "typ": "JWT"}));
    let forged = [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", encode(&admin), parts[2]),
        format!("{}.{}.{}", parts[0], encode(&admin), parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(43)),
        "nonsense".to_owned(),
    ];
    for token in forged {
        let forger = anybody()?.with_token(&token);
        for path in ["/api/auth/me", "/api/orders", "/api/payments/x", "/api/delivery"] {
            let answer = forger.get(path).await?;
            answer.expect_problem(401, "unauthorized")?;
            assert!(
                answer.header("www-authenticate").starts_with("Bearer"),
                "{:?}",
                answer.headers
            );
        }
        let flower = json!({"name": "Weed"});
        forger
            .post("/api/catalog/flowers", &flower)
            .await?
            .expect_problem(401, "unauthorized")?;
    }
    Ok(())
}

#[tokio::test]
async fn only_an_admin_changes_the_catalog() -> Result<()> {
    let (user, courier) = (anybody()?.register().await?, anybody()?.courier().await?);
    for actor in [&user, &courier] {
        for path in ["flowers", "bouquets", "categories"] {
            actor
                .post(&format!("/api/catalog/{path}"), &json!({}))
                .await?
                .expect_problem(403, "forbidden")?;
        }
        let nothing = "/api/catalog/flowers/00000000-0000-7000-8000-000000000000";
        actor
            .patch(nothing, &json!({}))
            .await?
            .expect_problem(403, "forbidden")?;
        actor.delete(nothing).await?.expect_problem(403, "forbidden")?;
    }
    Ok(())
}

#[tokio::test]
async fn unsigned_events_are_401_at_every_service_and_the_gateway_forwards_none() -> Result<()> {
    let admin = anybody()?.admin().await?;
    for service in ["ordering", "payment", "delivery"] {
        let path = format!("/internal/{service}/events");
        let batch = |path: &str| {
            let request = admin.request(Method::POST, path);
            request
                .header("content-type", "application/cloudevents-batch+json")
                .body("[]")
        };
        let direct = admin.at(&service_base(service)?);
        let unsigned = direct
            .request(Method::POST, &path)
            .header("content-type", "application/cloudevents-batch+json")
            .body("[]");
        direct.send(unsigned).await?.expect_problem(401, "unauthorized")?;
        for prefix in ["/api", "/api/orders/..", "/api/v1", "/api/orders/%2e%2e"] {
            let answer = admin.send(batch(&format!("{prefix}{path}"))).await?;
            assert_eq!(answer.status, 404, "{prefix}{path}: {}", answer.text);
        }
    }
    Ok(())
}
