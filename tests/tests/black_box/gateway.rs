//! The gateway's own answers.

use crate::anybody;
use anyhow::Result;
use reqwest::Method;

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
