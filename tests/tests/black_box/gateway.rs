//! The gateway's own answers.

use crate::anybody;
use anyhow::Result;
use reqwest::Method;
use shop_tests::environment::service_base;

#[tokio::test]
async fn health_shows_every_service() -> Result<()> {
    let health = anybody()?.get("/health").await?.expect(200)?;
    assert_eq!(health["status"], "healthy");
    for service in ["auth", "catalog", "ordering", "payment", "delivery"] {
        assert_eq!(health["checks"][service], "ok", "{health}");
    }
    anybody()?.get("/health/live").await?.expect(200)?;
    for (path, service) in [
        ("auth", "auth"),
        ("catalog", "catalog"),
        ("orders", "ordering"),
        ("payments", "payment"),
        ("delivery", "delivery"),
    ] {
        let health = anybody()?.get(&format!("/{path}/health")).await?.expect(200)?;
        assert_eq!(health["service"], service);
        assert_eq!(health["checks"]["postgres"], "ok");
        let internal = anybody()?
            .at(&service_base(service)?)
            .get(&format!("/internal/{service}/health"))
            .await?
            .expect(200)?;
        assert_eq!(internal["service"], service);
    }
    Ok(())
}

#[tokio::test]
async fn headers_of_one_hop_and_of_the_host_go_no_further() -> Result<()> {
    let anybody = anybody()?;
    let request = anybody
        .request(Method::GET, "/api/catalog/flowers?limit=1")
        .header("connection", "x-mine")
        .header("x-mine", "1")
        .header("spin-client-addr", "6.6.6.6")
        .header("x-forwarded-prefix", "/elsewhere");
    let answer = anybody.send(request).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for name in answer.headers.keys() {
        assert!(!name.as_str().starts_with("spin-"), "{name}");
    }
    Ok(())
}

/// What every answer says to a browser.
const SECURITY: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

#[tokio::test]
async fn every_answer_keeps_a_browser_from_doing_more_with_it_than_it_should() -> Result<()> {
    let user = anybody()?.register().await?;
    let mut answers = Vec::new();
    for (path, status) in [
        ("/api/auth/me", 200),
        ("/api/orders", 200),
        ("/api/orders/1", 404),
        ("/nowhere", 404),
        ("/health", 200),
        ("/health/live", 200),
    ] {
        answers.push((path, status, user.get(path).await?));
    }
    // A host that bounds bodies answers this one itself.
    let huge = user
        .request(Method::POST, "/api/orders")
        .header("content-type", "application/json")
        .body(vec![b' '; 3 * 1024 * 1024]);
    answers.push(("/api/orders", 413, user.send(huge).await?));

    for (path, status, answer) in answers {
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        for (name, value) in SECURITY {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        assert_eq!(answer.header("server"), "", "{path}");
        // A browser that comes by http may not believe it, and no origin is listed.
        assert_eq!(answer.header("strict-transport-security"), "", "{path}");
        for name in answer.headers.keys() {
            assert!(!name.as_str().starts_with("access-control-"), "{path}: {name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_says_how_many_requests_are_left() -> Result<()> {
    let anybody = anybody()?;
    let answer = anybody.get("/api/catalog/flowers?limit=1").await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(
        answer.header("ratelimit").starts_with("\"requests\";r="),
        "{:?}",
        answer.headers
    );
    assert!(
        answer.header("ratelimit-policy").starts_with("\"requests\";q="),
        "{:?}",
        answer.headers
    );
    let nobody = format!("nobody-{}@example.com", uuid::Uuid::now_v7());
    let wrong = serde_json::json!({"email": nobody, "password": "not the one"});
    for path in ["/api/auth/login", "/api/v1/auth/login", "/auth/login"] {
        let answer = anybody.post(path, &wrong).await?;
        assert_eq!(answer.status, 401, "{}", answer.text);
        assert!(
            answer.header("ratelimit-policy").contains("\"logins\";q="),
            "{path}: {:?}",
            answer.headers
        );
    }
    Ok(())
}

#[tokio::test]
async fn header_fields_that_contradict_each_other_are_refused() -> Result<()> {
    let user = anybody()?.register().await?;
    for (name, value) in [
        ("authorization", "Bearer x"),
        ("content-type", "application/json"),
        ("idempotency-key", "a"),
    ] {
        let request = user
            .request(Method::POST, "/api/orders")
            .header(name, value)
            .header(name, value)
            .body("{}");
        let answer = user.send(request).await?;
        answer.expect_problem(400, "malformed")?;
        assert!(answer.text.contains(name), "{}", answer.text);
    }
    Ok(())
}

#[tokio::test]
async fn header_fields_of_more_than_32_kib_are_refused() -> Result<()> {
    let anybody = anybody()?;
    let large = |bytes: usize| {
        let request = anybody.request(Method::GET, "/api/catalog/categories");
        request.header("x-large", "x".repeat(bytes))
    };
    let answer = anybody.send(large(24 * 1024)).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = anybody.send(large(33 * 1024)).await?;
    answer.expect_problem(431, "head-too-large")?;
    Ok(())
}

#[tokio::test]
async fn health_shows_the_breaker_of_every_service() -> Result<()> {
    let health = anybody()?.get("/health").await?.expect(200)?;
    for service in ["auth", "catalog", "ordering", "payment", "delivery"] {
        assert_eq!(health["breakers"][service], "closed", "{health}");
    }
    assert_eq!(health["checks"]["redis"], "ok", "{health}");
    Ok(())
}
