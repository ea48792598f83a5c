//! The shop's description of itself, and the reader for it.

use crate::anybody;
use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::Value;
use std::io::Read as _;

const DOCUMENTS: [(&str, &str); 5] = [
    ("/api/auth/openapi.json", "/auth/login"),
    ("/api/catalog/openapi.json", "/catalog/flowers"),
    ("/api/orders/openapi.json", "/orders/{id}/cancel"),
    ("/api/payments/openapi.json", "/payments/process"),
    ("/api/delivery/openapi.json", "/delivery/{id}/deliver"),
];

#[tokio::test]
async fn every_service_describes_itself_and_the_gateway_describes_them_all() -> Result<()> {
    let anybody = anybody()?;
    let all = anybody.get("/api/openapi.json").await?;
    assert_eq!(all.header("content-type"), "application/json");
    let all = all.expect(200)?;
    assert_eq!(anybody.get("/api/v1/openapi.json").await?.expect(200)?, all);
    for (path, route) in DOCUMENTS {
        let own = anybody.get(path).await?.expect(200)?;
        ensure!(own["openapi"] == "3.1.0", "{path}: {}", own["openapi"]);
        ensure!(own["paths"][route].is_object(), "{path} has no {route}");
        let merged = &all["paths"][format!("/api{route}")];
        for (method, operation) in own["paths"][route].as_object().context("no methods")? {
            assert_eq!(merged[method]["operationId"], operation["operationId"], "{route}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_description_that_is_known_is_not_sent_again() -> Result<()> {
    let anybody = anybody()?;
    let paths = DOCUMENTS.map(|(path, _)| path);
    for path in paths
        .into_iter()
        .chain(["/api/openapi.json", "/docs", "/docs/reader.js"])
    {
        let first = anybody.get(path).await?;
        assert_eq!(first.status, 200, "{path}");
        let etag = first.header("etag");
        let request = anybody.request(Method::GET, path).header("if-none-match", etag);
        let again = anybody.send(request).await?;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
        assert_eq!(again.header("etag"), etag, "{path}");
        let request = anybody
            .request(Method::GET, path)
            .header("if-none-match", "\"other\"");
        assert_eq!(anybody.send(request).await?.text, first.text, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_description_is_compressed_for_who_takes_that_and_each_form_has_its_tag() -> Result<()> {
    let anybody = anybody()?;
    for path in ["/api/openapi.json", "/api/catalog/openapi.json"] {
        let ask = |codings: &str, etag: &str| {
            let request = anybody.request(Method::GET, path);
            request
                .header("accept-encoding", codings)
                .header("if-none-match", etag)
        };
        let plain = anybody.send(ask("identity", "\"x\"")).await?;
        plain.expect(200)?;
        ensure!(plain.header("vary") == "accept-encoding", "{:?}", plain.headers);
        ensure!(plain.header("content-encoding").is_empty(), "{:?}", plain.headers);

        let answer = ask("br, gzip", "\"x\"").send().await?;
        ensure!(answer.status() == 200, "{answer:?}");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        ensure!(header("content-encoding") == Some("gzip"), "{answer:?}");
        ensure!(header("vary") == Some("accept-encoding"), "{answer:?}");
        let etag = header("etag").context("no tag")?.to_owned();
        ensure!(etag != plain.header("etag"), "two forms, one tag: {etag}");
        let bytes = answer.bytes().await?;
        ensure!(
            bytes.len() * 4 < plain.text.len(),
            "{path}: {} bytes",
            bytes.len()
        );
        let mut text = String::new();
        GzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
        ensure!(text == plain.text, "{path} is another document in gzip");

        let known = anybody.send(ask("gzip", &etag)).await?;
        assert_eq!((known.status.as_u16(), known.text.as_str()), (304, ""), "{path}");
        ensure!(known.header("etag") == etag, "{known:?}");
        let other = anybody.send(ask("identity", &etag)).await?;
        ensure!(
            other.status == 200 && other.header("etag") == plain.header("etag"),
            "{path}: {:?}",
            other.headers
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_reader_comes_from_the_shop_alone_and_may_do_nothing_else() -> Result<()> {
    let anybody = anybody()?;
    let page = anybody.get("/docs").await?;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        ensure!(policy.contains(rule), "{rule} is not in {policy}");
    }
    ensure!(!policy.contains("unsafe"), "{policy}");
    let linked = page.text.split('"').filter(|text| text.starts_with('/'));
    let mut count = 0;
    for path in linked {
        assert_eq!(anybody.get(path).await?.status, 200, "{path}");
        count += 1;
    }
    ensure!(count >= 3, "the page links {count} things");
    let answer = anybody.send(anybody.request(Method::POST, "/docs")).await?;
    answer.expect_problem(405, "method-not-allowed")?;
    Ok(())
}

/// Every problem that a client meets is one that the description knows, with what is said of it there.
#[tokio::test]
async fn an_error_is_what_the_description_says_of_its_status() -> Result<()> {
    let anybody = anybody()?;
    let all = anybody.get("/api/openapi.json").await?.expect(200)?;
    let user = anybody.register().await?;
    let cases = [
        ("/api/orders", anybody.get("/api/orders").await?),
        (
            "/api/catalog/flowers",
            user.get("/api/catalog/flowers?limit=0").await?,
        ),
        (
            "/api/catalog/flowers",
            user.get("/api/catalog/flowers?limit=1&limit=2").await?,
        ),
        (
            "/api/catalog/flowers/{id}",
            user.get("/api/catalog/flowers/x").await?,
        ),
        ("/api/delivery", user.get("/api/delivery").await?),
        ("/api/orders", user.get("/api/orders?user_id=x").await?),
    ];
    for (path, answer) in cases {
        let status = answer.status.as_u16().to_string();
        let place = &all["paths"][path]["get"]["responses"][&status]["$ref"];
        let place = place
            .as_str()
            .with_context(|| format!("{path} has no {status}"))?;
        let response = all
            .pointer(place.trim_start_matches('#'))
            .context("a reference to nothing")?;
        let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1];
        let kinds = schema["properties"]["type"]["enum"]
            .as_array()
            .context("no types")?;
        let problem: Value = answer.json();
        ensure!(
            kinds.contains(&problem["type"]),
            "{path}: {problem} is none of {kinds:?}"
        );
    }
    Ok(())
}
