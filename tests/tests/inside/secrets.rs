//! Secrets and personal data are planted in a shop that has a bad day, and then looked for wherever they have no
//! business: logs, spans, metrics, Redis, answers to others, and every table but those that keep them.

use crate::alone;
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use reqwest::{Method, StatusCode};
use serde_json::json;
use shop_tests::environment::variable;
use shop_tests::proxy::Mood;
use shop_tests::{Actor, Answer, Collector, Shop, eventually};
use std::collections::BTreeSet;
use std::time::Duration;
use url::Url;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

/// Where a person's data stand, and have to. Secrets stand nowhere.
///
/// OrderPaid carries the address to delivery, so the outbox has it until it is pruned, and a letter that died on the
/// way as long as it waits for an operator. ShipmentFailed carries the courier's words. The answer to a request with an
/// idempotency key is kept for a day, as it was given.
const KEPT: [(&str, &str); 9] = [
    ("auth.users", "e-mail"),
    ("auth.users", "full name"),
    ("bridge.dead_letters", "delivery address"),
    ("delivery.orders", "delivery address"),
    ("delivery.outbox_messages", "courier's words"),
    ("delivery.shipments", "courier's words"),
    ("ordering.idempotency_keys", "delivery address"),
    ("ordering.orders", "delivery address"),
    ("ordering.outbox_messages", "delivery address"),
];

/// Something to look for.
struct Planted {
    name: &'static str,
    /// As it is, and as it looks in hex and in base64, in lower case.
    looks: Vec<String>,
}

impl Planted {
    fn new(name: &'static str, text: &str) -> Result<Self> {
        ensure!(text.len() >= 12, "{name} is too short to be recognised");
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut looks = vec![text.to_lowercase(), hex];
        // Where it begins within three bytes decides how it looks; its ends depend on what is beside it.
        for before in 0..3 {
            let encoded = STANDARD_NO_PAD.encode(["x".repeat(before).as_bytes(), text.as_bytes()].concat());
            let inner = encoded.get(4..encoded.len() - 4).context("too short")?;
            looks.push(inner.to_lowercase());
        }
        Ok(Self { name, looks })
    }

    fn is_in(&self, lower_text: &str) -> bool {
        self.looks.iter().any(|look| lower_text.contains(look))
    }
}

/// What was found where it should not be.
#[derive(Default)]
struct Search {
    found: BTreeSet<(String, &'static str)>,
    bytes: usize,
}

impl Search {
    fn look(&mut self, place: &str, text: &str, planted: &[Planted]) {
        self.bytes += text.len();
        let lower = text.to_lowercase();
        let found = planted.iter().filter(|planted| planted.is_in(&lower));
        self.found
            .extend(found.map(|planted| (place.to_owned(), planted.name)));
    }
}

/// A person of whom everything can be recognised.
struct Person {
    actor: Actor,
    email: String,
    full_name: String,
    password: String,
    address: String,
}

fn marked(what: &str) -> String {
    format!("planted-{what}-{}", Uuid::now_v7().simple())
}

async fn register(shop: &Shop) -> Result<(Person, Vec<String>)> {
    let (email, full_name) = (format!("{}@example.com", marked("e-mail")), marked("name"));
    let (password, address) = (marked("password"), marked("address"));
    let anybody = shop.anonymous()?;
    let body = json!({"email": email, "full_name": full_name, "password": password});
    let signed_in = anybody.post("/api/auth/register", &body).await?.expect(201)?;
    let tokens = ["access_token", "refresh_token"].map(|name| signed_in[name].as_str().map(str::to_owned));
    let tokens: Vec<String> = tokens.into_iter().flatten().collect();
    let actor = anybody.with_token(tokens.first().context("no token")?);
    let person = Person {
        actor,
        email,
        full_name,
        password,
        address,
    };
    Ok((person, tokens))
}

impl Person {
    async fn order(&self, flower: &str, method: &str) -> Result<Answer> {
        let body = json!({
            "items": [{"flower_id": flower, "quantity": 1}], "delivery_address": self.address,
            "payment_method": method,
        });
        let request = self.actor.request(Method::POST, "/api/orders");
        let request = request.header("idempotency-key", Uuid::now_v7().to_string());
        self.actor.send(request.json(&body)).await
    }

    async fn order_once_known(&self, flower: &str, method: &str) -> Result<String> {
        eventually("the flower can be ordered", PATIENCE, async || {
            let answer = self.order(flower, method).await?;
            if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
                return Ok(None);
            }
            Ok(answer.expect(201)?["id"].as_str().map(str::to_owned))
        })
        .await
    }

    /// What goes wrong when people sign in, each with an answer that repeats nothing.
    async fn fail_to_sign_in(&self, wrong_password: &str) -> Result<Vec<Answer>> {
        let anybody = self.actor.with_token("nonsense");
        let broken = format!(
            "{{\"email\": \"{}\", \"password\": \"{}\"",
            self.email, self.password
        );
        let broken = anybody
            .request(Method::POST, "/api/auth/login")
            .header("content-type", "application/json")
            .body(broken);
        let (email, password) = (&self.email, &self.password);
        let wrong = json!({"email": email, "password": wrong_password});
        let again = json!({"email": email, "password": password});
        let invalid = json!({"email": "nothing", "password": password, "surplus": password});
        let forged = self
            .actor
            .token()
            .map(|token| format!("{token}x"))
            .context("no token")?;
        Ok(vec![
            anybody.post("/api/auth/login", &wrong).await?,
            anybody.post("/api/auth/register", &again).await?,
            anybody.post("/api/auth/register", &invalid).await?,
            anybody.send(broken).await?,
            anybody.with_token(&forged).get("/api/auth/me").await?,
            anybody.get(&format!("/api/orders?status={password}")).await?,
        ])
    }
}

/// All secrets of the shop itself.
fn secrets_of(shop: &Shop) -> Result<Vec<(&'static str, String)>> {
    let variables = shop.variables()?;
    let mut secrets = Vec::new();
    for (name, value) in &variables {
        let value = value.as_str().unwrap_or_default().to_owned();
        match name.as_str() {
            name if name.ends_with("_key") || name.ends_with("_keys") => secrets.push(("key", value)),
            name if name.ends_with("_password") => secrets.push(("password of a login", value)),
            _ => {}
        }
    }
    ensure!(secrets.len() >= 8, "only {} secrets", secrets.len());
    let addresses = [
        ("password of the bridge", shop.login_url("bridge")),
        ("password of the database", shop.database_url().clone()),
        (
            "password of the broker",
            Url::parse(&variable("SHOP_TEST_AMQP")?)?,
        ),
    ];
    for (name, address) in addresses {
        secrets.push((name, address.password().context("no password")?.to_owned()));
    }
    Ok(secrets)
}

/// All that Redis holds, whose ever it is: what is planted is known anywhere.
async fn redis_holds() -> Result<String> {
    let client = redis::Client::open(variable("SHOP_TEST_REDIS")?)?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let mut held = String::new();
    for database in 0..16 {
        let () = redis::cmd("SELECT").arg(database).query_async(&mut redis).await?;
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await?;
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut redis).await?;
            let (command, range): (&str, &[i64]) = match kind.as_str() {
                "string" => ("GET", &[]),
                "hash" => ("HGETALL", &[]),
                "set" => ("SMEMBERS", &[]),
                "list" => ("LRANGE", &[0, -1]),
                "zset" => ("ZRANGE", &[0, -1]),
                // It ended meanwhile.
                "none" => continue,
                other => anyhow::bail!("how is a {other} read?"),
            };
            let value: redis::Value = redis::cmd(command)
                .arg(&key)
                .arg(range)
                .query_async(&mut redis)
                .await?;
            held.push_str(&format!("{} {value:?}\n", String::from_utf8_lossy(&key)));
        }
    }
    Ok(held)
}

#[tokio::test]
async fn no_secret_and_no_persons_data_are_where_they_have_no_business() -> Result<()> {
    let _alone = alone().await;
    let collector = Collector::start().await?;
    let mut shop = Shop::prepare_linked().await?;
    let talkative = [
        ["--log-level", "debug"],
        ["--otlp-endpoint", &collector.endpoint],
        ["--trace-ratio", "1"],
    ];
    let talkative: Vec<String> = talkative.concat().into_iter().map(str::to_owned).collect();
    shop.start_host_with(&talkative).await?;
    shop.start_relay(&[
        ("SHOP_LOG_LEVEL", "debug"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
        ("SHOP_TRACE_RATIO", "1"),
    ])
    .await?;

    // Given a customer who orders three times, signs in badly, and whose first parcel comes back.
    let (person, tokens) = register(&shop).await?;
    let (wrong_password, words) = (marked("wrong-password"), marked("words"));
    let nobody = shop.anonymous()?;
    let (admin, courier, other) = (
        nobody.admin().await?,
        nobody.courier().await?,
        nobody.register().await?,
    );
    let mut refusals = person.fail_to_sign_in(&wrong_password).await?;
    for (answer, status) in refusals.iter().zip([401, 409, 422, 400, 401, 401]) {
        answer.expect(status)?;
    }
    let rose = admin.add_flower("Rose of somebody", "150.00").await?;
    let returned = person.order_once_known(&rose, "pm_card_visa").await?;
    let unpaid = person.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    person.actor.await_status(&returned, "shipping").await?;
    person.actor.await_status(&unpaid, "payment_failed").await?;
    let shipment = person
        .actor
        .get(&format!("/api/delivery/order/{returned}"))
        .await?
        .expect(200)?;
    let shipment = shipment["id"].as_str().context("no shipment")?;
    courier
        .post(
            &format!("/api/delivery/{shipment}/fail"),
            &json!({"reason": words}),
        )
        .await?
        .expect(200)?;
    person.actor.await_status(&returned, "cancelled").await?;

    // And an event of theirs that dies.
    shop.spoil("OrderPaid").await?;
    let dead = person.order_once_known(&rose, "pm_card_visa").await?;
    eventually("the letter waits", PATIENCE, async || {
        let letters = shop.count("select count(*) from bridge.dead_letters").await?;
        Ok((letters == 1).then_some(()))
    })
    .await?;

    // When what the shop stands on goes away while they go on, and comes back.
    let links = shop.links().context("no links")?;
    for link in [&links.redis, &links.rabbitmq, &links.postgres] {
        link.behave(Mood::Cut);
        refusals.push(person.order(&rose, "pm_card_visa").await?);
        refusals.push(person.actor.get(&format!("/api/orders/{dead}")).await?);
        refusals.push(nobody.get(&format!("/api/catalog/flowers/{rose}")).await?);
        let credentials = json!({"email": person.email, "password": person.password});
        refusals.push(nobody.post("/api/auth/login", &credentials).await?);
        let new = json!({"email": format!("x{}", person.email), "password": person.password});
        refusals.push(nobody.post("/api/auth/register", &new).await?);
        link.behave(Mood::Well);
        shop.await_healthy().await?;
    }
    refusals.retain(|answer| answer.status.as_u16() >= 400);
    let unavailable = refusals.iter().filter(|answer| answer.status == 503).count();
    ensure!(
        unavailable >= 4,
        "only {unavailable} requests found nothing to stand on"
    );
    let mut wrong = shop.login_url("bridge");
    let _ = wrong.set_password(Some(&wrong_password));
    let refused = shop
        .operate(&["dead-letters", "list", "--database-url", wrong.as_str()])
        .await?;
    ensure!(!refused.status.success(), "a wrong password is taken");

    // Then others are told nothing of them.
    let mut told = Vec::new();
    for visitor in [&other, &nobody] {
        for path in [
            format!("/api/orders/{returned}"),
            format!("/api/orders/{returned}/history"),
            format!(
                "/api/orders?user_id={}",
                person.actor.id.clone().unwrap_or_default()
            ),
            format!("/api/payments/order/{returned}"),
            format!("/api/delivery/order/{returned}"),
            format!("/api/delivery/{shipment}"),
            "/api/delivery".to_owned(),
            "/api/auth/me".to_owned(),
            "/api/catalog/flowers?limit=100".to_owned(),
            "/health".to_owned(),
        ] {
            told.push(visitor.get(&path).await?);
        }
    }
    let cached = eventually("the catalog is cached", PATIENCE, async || {
        nobody.get("/api/catalog/flowers?limit=100").await?.expect(200)?;
        let held = redis_holds().await?;
        Ok(held.contains("flowers:").then_some(held))
    })
    .await?;
    let mut metrics = String::new();
    for address in shop.metrics() {
        let answer = nobody.at(&format!("http://{address}")).get("/metrics").await?;
        answer.expect(200)?;
        metrics.push_str(&answer.text);
    }
    shop.stop_relays().await?;
    shop.stop_host().await?;

    let personal = [
        Planted::new("e-mail", &person.email)?,
        Planted::new("full name", &person.full_name)?,
        Planted::new("delivery address", &person.address)?,
        Planted::new("courier's words", &words)?,
    ];
    let mut secrets = vec![
        Planted::new("password", &person.password)?,
        Planted::new("wrong password", &wrong_password)?,
    ];
    for token in &tokens {
        // What makes it a token is its last part.
        let signature = token.rsplit('.').next().unwrap_or(token);
        secrets.push(Planted::new("token", signature)?);
    }
    for (name, secret) in secrets_of(&shop)? {
        secrets.push(Planted::new(name, &secret)?);
    }

    let mut search = Search::default();
    for entry in std::fs::read_dir(shop.folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let log = std::fs::read(&path)?;
            ensure!(!log.is_empty(), "{} is empty", path.display());
            let log = String::from_utf8_lossy(&log);
            search.look(&path.display().to_string(), &log, &personal);
            search.look(&path.display().to_string(), &log, &secrets);
        }
    }
    let spans = collector.spans()?;
    for service in ["gateway", "auth", "ordering", "host-bridge"] {
        let mut told = spans.iter().filter(|span| span.service == service);
        ensure!(
            told.any(|span| span.failure.is_some()),
            "{service} has had no bad day"
        );
    }
    search.look("spans", &format!("{spans:?}"), &personal);
    search.look("spans", &format!("{spans:?}"), &secrets);
    search.look("metrics", &metrics, &personal);
    search.look("metrics", &metrics, &secrets);
    search.look("Redis", &cached, &personal);
    search.look("Redis", &cached, &secrets);
    for output in [&refused.stdout, &refused.stderr] {
        search.look("an operator's screen", &String::from_utf8_lossy(output), &secrets);
    }
    for answer in &refusals {
        search.look("a refusal", &format!("{answer:?}"), &secrets);
    }
    for answer in &told {
        search.look("an answer to others", &format!("{answer:?}"), &secrets);
        search.look("an answer to others", &format!("{answer:?}"), &personal);
    }
    ensure!(search.bytes > 10_000, "only {} bytes were searched", search.bytes);
    ensure!(search.found.is_empty(), "{:#?}", search.found);

    // And the tables hold what they must, and no secret.
    let mut search = Search::default();
    let database = shop.database().await?;
    let tables = "select schemaname::text, tablename::text from pg_tables
        where schemaname not in ('pg_catalog', 'information_schema')";
    for row in database.query(tables, &[]).await? {
        let (schema, name): (&str, &str) = (row.get(0), row.get(1));
        let table = format!("{schema}.{name}");
        let rows = database
            .query(&format!("select t::text from {table} as t"), &[])
            .await?;
        for row in rows {
            let text: &str = row.get(0);
            search.look(&table, text, &personal);
            search.look(&table, text, &secrets);
        }
    }
    let kept = KEPT.map(|(table, name)| (table.to_owned(), name));
    assert_eq!(search.found, BTreeSet::from(kept));
    Ok(())
}

#[test]
fn what_is_planted_is_found_however_it_is_written() -> Result<()> {
    let planted = Planted::new("word", "planted-word-0190")?;
    let hex: String = "planted-word-0190"
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut texts = vec![
        "{\"x\": \"PLANTED-word-0190\"}".to_owned(),
        format!("\\x00{hex}ff"),
    ];
    for before in ["", "a", "ab", "{\"email\": \""] {
        texts.push(STANDARD_NO_PAD.encode(format!("{before}planted-word-0190 and more")));
    }
    for text in texts {
        ensure!(planted.is_in(&text.to_lowercase()), "{text}");
    }
    ensure!(!planted.is_in("planted-word-0191"), "that is another");
    Ok(())
}
