//! The gateway of shops with small limits, a Redis or a service that fails, and other variables than the demo's.

use crate::alone;
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::proxy::{Mood, Proxy};
use shop_tests::{Actor, Answer, Shop, eventually};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// How long something may take to be noticed by everybody.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an answer may take that waits for nobody, on a machine that is busy.
const QUICK: Duration = Duration::from_millis(900);

fn variables(pairs: &[(&str, &str)]) -> Vec<String> {
    let pair = |(name, value): &(&str, &str)| format!("--variable={name}={value}");
    pairs.iter().map(pair).collect()
}

/// A shop without relays, with these variables.
async fn shop_with(pairs: &[(&str, &str)]) -> Result<Shop> {
    let mut shop = Shop::prepare().await?;
    shop.start_host_with(&variables(pairs)).await?;
    Ok(shop)
}

#[tokio::test]
async fn what_was_counted_in_another_shop_is_not_held_against_the_clients_of_this_one() -> Result<()> {
    let _alone = alone().await;
    // As many shops as Redis has databases for them: two of them share one.
    for _ in 0..16 {
        let shop = shop_with(&[("limit_address_logins", "1/h")]).await?;
        login(&shop.anonymous()?)
            .await?
            .expect_problem(401, "unauthorized")?;
    }
    Ok(())
}

/// What somebody signs in with whom nobody knows: another one each time, so that none is held back for guessing.
fn nobody() -> Value {
    json!({"email": format!("nobody-{}@example.com", Uuid::now_v7()), "password": "not the one"})
}

async fn login(actor: &Actor) -> Result<Answer> {
    actor.post("/api/auth/login", &nobody()).await
}

/// Somebody whose request passed through this proxy, or says so.
async fn login_from(actor: &Actor, forwarded_for: &str) -> Result<Answer> {
    let request = actor
        .request(Method::POST, "/api/auth/login")
        .header("x-forwarded-for", forwarded_for);
    actor.send(request.json(&nobody())).await
}

/// How many requests the address may send, the one that finds out not counted.
async fn requests_left(actor: &Actor) -> Result<u64> {
    let answer = actor.get("/health").await?;
    answer.expect(200)?;
    let left = answer.header("ratelimit").strip_prefix("\"requests\";r=");
    let left = left.and_then(|left| left.split_once(';'));
    let (left, _) = left.with_context(|| format!("{:?}", answer.headers))?;
    Ok(left.parse()?)
}

/// Checks that the answer tells to come back within `at_most` seconds, and by which policy.
fn expect_too_soon(answer: &Answer, policy: &str, at_most: u64) -> Result<()> {
    let problem = answer.expect_problem(429, "too-many-requests")?;
    assert_eq!(problem["violated-policies"], json!([policy]));
    let seconds: u64 = answer.header("retry-after").parse()?;
    ensure!((1..=at_most).contains(&seconds), "Retry-After: {seconds}");
    assert_eq!(
        answer.header("ratelimit"),
        format!("\"{policy}\";r=0;t={seconds}")
    );
    Ok(())
}

#[tokio::test]
async fn so_many_logins_of_one_address_pass_and_no_more_however_many_come_at_once() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[
        ("limit_address_logins", "10/h"),
        ("limit_address_requests", "1000/h"),
    ])
    .await?;
    let anybody = shop.anonymous()?;
    let before = requests_left(&anybody).await?;
    let answers = futures::future::try_join_all((0..40).map(|_| login(&anybody))).await?;
    let passed: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 401).collect();
    assert_eq!(passed.len(), 10);
    for answer in answers.iter().filter(|answer| answer.status != 401) {
        expect_too_soon(answer, "logins", 360)?;
        assert_eq!(
            answer.header("ratelimit-policy"),
            "\"requests\";q=1000;w=3600, \"logins\";q=10;w=3600"
        );
    }
    // Who is refused by one limit draws from no other: of forty ten drew, and so does this read. One may be back.
    let drawn = before - requests_left(&anybody).await?;
    ensure!((10..=11).contains(&drawn), "{drawn} were drawn");
    // Another spelling is the same door.
    for path in ["/auth/login", "/api/v1/auth/login", "/auth/login?x=1"] {
        expect_too_soon(&anybody.post(path, &nobody()).await?, "logins", 360)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_user_orders_so_often_wherever_they_are_and_others_are_not_concerned() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[("limit_user_orders", "2/h"), ("limit_user_requests", "100/h")]).await?;
    let (one, other) = (
        shop.anonymous()?.register().await?,
        shop.anonymous()?.register().await?,
    );
    let body = json!({});
    for _ in 0..2 {
        let answer = one.post("/api/orders", &body).await?;
        answer.expect_problem(422, "validation")?;
        ensure!(answer.header("ratelimit").contains("\"orders\";r="), "{answer:?}");
    }
    let refused = one.post("/api/v1/orders", &body).await?;
    expect_too_soon(&refused, "orders", 1800)?;
    // Reading goes on, and so do others.
    let read = one.get("/api/orders").await?;
    read.expect(200)?;
    ensure!(
        read.header("ratelimit").starts_with("\"user-requests\";r=97;t="),
        "{:?}",
        read.headers
    );
    other
        .post("/api/orders", &body)
        .await?
        .expect_problem(422, "validation")?;
    // A token that does not hold is nobody's: the service says so, as often as it comes.
    for _ in 0..4 {
        let forged = one.with_token("a.b.c").post("/api/orders", &body).await?;
        forged.expect_problem(401, "unauthorized")?;
        assert_eq!(forged.header("ratelimit"), "");
    }
    Ok(())
}

#[tokio::test]
async fn who_waits_as_long_as_told_is_let_through() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[("limit_address_registrations", "2/s burst=1")]).await?;
    let anybody = shop.anonymous()?;
    let register = async || anybody.post("/api/auth/register", &json!({})).await;
    register().await?.expect_problem(422, "validation")?;
    eventually("a second one comes too soon", PATIENCE, async || {
        let answer = register().await?;
        if answer.status == 422 {
            return Ok(None);
        }
        expect_too_soon(&answer, "registrations", 1)?;
        Ok(Some(()))
    })
    .await?;
    eventually("it is let through again", Duration::from_secs(3), async || {
        Ok((register().await?.status == 422).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_client_is_who_the_trusted_proxies_say_and_nobody_else() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[("limit_address_logins", "1/h"), ("trusted_proxies", "1")]).await?;
    let anybody = shop.anonymous()?;
    for (forwarded_for, status) in [
        ("192.0.2.1", 401),
        ("192.0.2.1", 429),
        // What the client itself wrote stands further left.
        ("192.0.2.9, 192.0.2.1", 429),
        ("192.0.2.1, 192.0.2.2", 401),
        ("192.0.2.2:1234", 429),
        ("2001:db8::1", 401),
        ("[2001:db8::2]:1234", 429),
        ("2001:db8:0:1::1", 401),
    ] {
        let answer = login_from(&anybody, forwarded_for).await?;
        assert_eq!(answer.status, status, "{forwarded_for}: {}", answer.text);
    }
    let https = anybody
        .request(Method::GET, "/api/catalog/categories")
        .header("x-forwarded-proto", "https");
    let answer = anybody.send(https).await?;
    ensure!(
        answer.header("strict-transport-security").starts_with("max-age="),
        "{:?}",
        answer.headers
    );

    let shop = shop_with(&[("limit_address_logins", "1/h")]).await?;
    let anybody = shop.anonymous()?;
    for (forwarded_for, status) in [("192.0.2.1", 401), ("192.0.2.2", 429)] {
        let answer = login_from(&anybody, forwarded_for).await?;
        assert_eq!(answer.status, status, "{forwarded_for}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test]
async fn without_redis_nothing_is_limited_and_little_is_lost() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare_linked().await?;
    shop.start_host_with(&variables(&[("limit_address_logins", "1/h")]))
        .await?;
    let anybody = shop.anonymous()?;
    login(&anybody).await?.expect_problem(401, "unauthorized")?;
    expect_too_soon(&login(&anybody).await?, "logins", 3600)?;
    let redis = &shop.links().context("no proxies")?.redis;
    for mood in [
        Mood::Silent,
        Mood::Cut,
        Mood::Slow(Duration::from_millis(400)),
        Mood::Breaks,
    ] {
        redis.behave(mood);
        let start = Instant::now();
        for _ in 0..10 {
            let answer = login(&anybody).await?;
            answer
                .expect_problem(401, "unauthorized")
                .with_context(|| format!("{mood:?}"))?;
            assert_eq!(answer.header("ratelimit"), "", "{mood:?}");
        }
        // One patience of 100 ms a second and instance, not one for each.
        ensure!(
            start.elapsed() < Duration::from_secs(2),
            "{mood:?}: {:?}",
            start.elapsed()
        );
        let health = anybody.get("/health").await?.expect(200)?;
        assert_eq!(
            (&health["status"], &health["checks"]["redis"]),
            (&json!("healthy"), &json!("degraded")),
            "{mood:?}"
        );
        redis.behave(Mood::Well);
        // Asked for with what is no login, of which auth counts no failure.
        eventually("the limits hold again", PATIENCE, async || {
            let answer = anybody.post("/api/auth/login", &json!({})).await?;
            Ok((answer.status == 429).then_some(()))
        })
        .await
        .with_context(|| format!("{mood:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_redis_that_asks_who_is_there_is_told() -> Result<()> {
    let _alone = alone().await;
    let mut redis = redis::Client::open(shop_tests::environment::variable("SHOP_TEST_REDIS")?)?
        .get_multiplexed_async_connection()
        .await?;
    let (user, password) = (
        format!("shop-{}", Uuid::now_v7().simple()),
        Uuid::new_v4().to_string(),
    );
    let rules = ["on", &format!(">{password}"), "~*", "+@all"];
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", &user])
        .arg(&rules)
        .query_async(&mut redis)
        .await?;
    for (credentials, check) in [
        (format!("{user}:{password}"), "ok"),
        (format!("{user}:wrong"), "degraded"),
    ] {
        let mut shop = shop_with(&[("redis_credentials", &credentials)]).await?;
        let health = shop.anonymous()?.get("/health").await?.expect(200)?;
        assert_eq!(health["checks"]["redis"], check);
        ensure!(
            !shop.whole_log("host")?.contains(&password),
            "the password is in the log"
        );
        shop.stop_host().await?;
    }
    let _: () = redis::cmd("ACL")
        .arg(&["DELUSER", &user])
        .query_async(&mut redis)
        .await?;
    Ok(())
}

/// A shop whose payment service stands behind a proxy of its own.
async fn shop_with_payment_behind_a_proxy() -> Result<(Shop, Proxy)> {
    let mut shop = Shop::prepare_linked().await?;
    let own = format!("127.0.0.1:{}", shop.another_port()?);
    let proxy = Proxy::to(own.clone()).await?;
    let mut arguments = variables(&[
        ("payment_url", &format!("http://{}", proxy.address)),
        ("payment_timeout_seconds", "1"),
    ]);
    arguments.push(format!("--service-listen=payment={own}"));
    shop.start_host_with(&arguments).await?;
    Ok((shop, proxy))
}

/// A read of the payment service, and how long it took.
async fn read_payment(user: &Actor) -> Result<(Answer, Duration)> {
    let start = Instant::now();
    let answer = user
        .get("/api/payments/0190b5a5-0000-7000-8000-000000000000")
        .await?;
    Ok((answer, start.elapsed()))
}

/// Reads until the gateway says at once that the service is away.
async fn await_open(user: &Actor) -> Result<()> {
    eventually("the breaker is open", PATIENCE, async || {
        let (answer, time) = read_payment(user).await?;
        ensure!(
            matches!(answer.status.as_u16(), 502 | 503),
            "{}: {}",
            answer.status,
            answer.text
        );
        let retry_after: u64 = answer.header("retry-after").parse().unwrap_or(0);
        // Only an open breaker has more to say than the 1 s of any 503.
        Ok((time < QUICK && retry_after > 1).then_some(()))
    })
    .await
}

async fn await_closed(user: &Actor) -> Result<()> {
    eventually("the service is reached again", PATIENCE, async || {
        Ok((read_payment(user).await?.0.status == 404).then_some(()))
    })
    .await?;
    eventually("the breaker is closed", PATIENCE, async || {
        let health = user.get("/health").await?.expect(200)?;
        Ok((health["breakers"]["payment"] == "closed").then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_dead_service_costs_its_callers_a_quick_503_and_the_others_nothing() -> Result<()> {
    let _alone = alone().await;
    let (shop, payment) = shop_with_payment_behind_a_proxy().await?;
    let user = shop.anonymous()?.register().await?;
    read_payment(&user).await?.0.expect_problem(404, "not-found")?;
    for mood in [Mood::Silent, Mood::Cut] {
        payment.behave(mood);
        await_open(&user).await.with_context(|| format!("{mood:?}"))?;
        let health = user.get("/health").await?.expect(200)?;
        assert_eq!(health["status"], "degraded", "{health}");
        ensure!(health["breakers"]["payment"] != "closed", "{health}");
        for service in ["auth", "catalog", "ordering", "delivery"] {
            assert_eq!(health["breakers"][service], "closed", "{health}");
        }
        for path in ["/api/auth/me", "/api/orders", "/api/catalog/flowers"] {
            let start = Instant::now();
            user.get(path).await?.expect(200)?;
            ensure!(start.elapsed() < QUICK, "{path}: {:?}", start.elapsed());
        }
        payment.behave(Mood::Well);
        await_closed(&user).await.with_context(|| format!("{mood:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn one_request_at_a_time_finds_out_whether_a_dead_service_is_back() -> Result<()> {
    let _alone = alone().await;
    let (shop, payment) = shop_with_payment_behind_a_proxy().await?;
    let user = shop.anonymous()?.register().await?;
    payment.behave(Mood::Silent);
    await_open(&user).await?;
    let mut probes = 0;
    let start = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    while probes < 2 {
        pace.tick().await;
        ensure!(start.elapsed() < PATIENCE, "only {probes} probes");
        let reads = futures::future::try_join_all((0..20).map(|_| read_payment(&user))).await?;
        // Who found out waited for the service; all others did not.
        let waited = reads
            .iter()
            .filter(|(_, time)| *time >= Duration::from_secs(1))
            .count();
        ensure!(waited <= 1, "{waited} at once");
        probes += waited;
    }
    payment.behave(Mood::Well);
    await_closed(&user).await
}

#[tokio::test]
async fn without_redis_an_instance_breaks_by_what_it_saw() -> Result<()> {
    let _alone = alone().await;
    let (shop, payment) = shop_with_payment_behind_a_proxy().await?;
    let user = shop.anonymous()?.register().await?;
    let redis = &shop.links().context("no proxies")?.redis;
    redis.behave(Mood::Cut);
    payment.behave(Mood::Silent);
    await_open(&user).await?;
    payment.behave(Mood::Well);
    eventually("the service is reached again", PATIENCE, async || {
        Ok((read_payment(&user).await?.0.status == 404).then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_one_instance_finds_out_all_others_go_by() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[]).await?;
    let user = shop.anonymous()?.register().await?;
    let variables = shop.variables()?;
    let text = |name: &str| {
        variables
            .get(name)
            .and_then(toml::Value::as_str)
            .context("no Redis")
    };
    let address = format!("{}/{}", text("redis")?, text("redis_database")?);
    let mut redis = redis::Client::open(address)?
        .get_multiplexed_async_connection()
        .await?;
    let until = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(5);
    // As another host's gateway would have left it.
    let _: () = redis::cmd("SET")
        .arg("breaker:{payment}")
        .arg(format!("open {}", until.as_millis()))
        .arg("PX")
        .arg(60_000)
        .query_async(&mut redis)
        .await?;
    eventually("the breaker is open", Duration::from_secs(3), async || {
        let (answer, _) = read_payment(&user).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        answer.expect_problem(503, "unavailable")?;
        Ok(Some(()))
    })
    .await?;
    let health = user.get("/health").await?.expect(200)?;
    assert_eq!(health["breakers"]["payment"], "open", "{health}");
    // The service is there: whoever asks when the pause is over finds out, for all.
    await_closed(&user).await?;
    let left: Option<String> = redis::cmd("GET")
        .arg("breaker:{payment}")
        .query_async(&mut redis)
        .await?;
    assert_eq!(left, None);
    Ok(())
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_answers_and_others_may_not() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[("cors_origins", "https://shop.example http://localhost:5173")]).await?;
    let anybody = shop.anonymous()?;
    let ask = async |method: Method, origin: &str, preflight: bool| {
        let mut request = anybody.request(method, "/api/orders").header("origin", origin);
        if preflight {
            request = request
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,idempotency-key");
        }
        anybody.send(request).await
    };
    for origin in ["https://shop.example", "http://localhost:5173"] {
        let preflight = ask(Method::OPTIONS, origin, true).await?;
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-origin"), origin);
        ensure!(preflight.header("access-control-allow-methods").contains("POST"));
        for name in ["authorization", "content-type", "idempotency-key", "if-match"] {
            ensure!(
                preflight.header("access-control-allow-headers").contains(name),
                "{name}"
            );
        }
        // The problem of a request that is refused can be read, too.
        let answer = ask(Method::GET, origin, false).await?;
        answer.expect_problem(401, "unauthorized")?;
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        ensure!(
            answer
                .header("access-control-expose-headers")
                .contains("x-request-id")
        );
        assert_eq!(answer.header("vary"), "origin");
    }
    let preflight = ask(Method::OPTIONS, "https://evil.example", true).await?;
    preflight.expect_problem(405, "method-not-allowed")?;
    let answer = ask(Method::GET, "https://evil.example", false).await?;
    for answer in [&preflight, &answer] {
        assert_eq!(answer.header("vary"), "origin");
        for name in answer.headers.keys() {
            ensure!(!name.as_str().starts_with("access-control-"), "{name}");
        }
    }
    let plain = ask(Method::OPTIONS, "https://shop.example", false).await?;
    plain.expect_problem(405, "method-not-allowed")?;
    Ok(())
}

#[tokio::test]
async fn a_version_that_goes_says_so_and_is_gone_after_its_sunset() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with(&[(
        "retiring",
        "/api/v1 deprecated=2020-01-01 sunset=2020-07-01 gone; \
         /api deprecated=2020-01-01 sunset=2099-01-01 link=https://shop.example/v2",
    )])
    .await?;
    let anybody = shop.anonymous()?;
    let gone = anybody.get("/api/v1/catalog/categories").await?;
    gone.expect_problem(410, "version-retired")?;
    assert_eq!(gone.header("deprecation"), "@1577836800");
    assert_eq!(gone.header("sunset"), "Wed, 01 Jul 2020 00:00:00 GMT");

    // Whatever the path is, save for what the shop's own reader fetches.
    for path in ["/api/v1/openapi.json", "/api/v1/nothing"] {
        let gone = anybody.get(path).await?;
        gone.expect_problem(410, "version-retired")?;
    }
    let unknown = anybody.get("/api/nothing").await?;
    unknown.expect_problem(404, "no-route")?;
    let read = anybody.get("/api/openapi.json").await?;
    read.expect(200)?;
    for answer in [unknown, read] {
        assert_eq!(answer.header("deprecation"), "@1577836800");
    }

    let goes = anybody.get("/api/catalog/categories").await?;
    goes.expect(200)?;
    assert_eq!(goes.header("sunset"), "Thu, 01 Jan 2099 00:00:00 GMT");
    ensure!(
        goes.header("link")
            .starts_with("<https://shop.example/v2>; rel=\"deprecation\""),
        "{:?}",
        goes.headers
    );

    let stays = anybody.get("/catalog/categories").await?;
    stays.expect(200)?;
    assert_eq!(stays.header("deprecation"), "");
    Ok(())
}

#[tokio::test]
async fn a_variable_of_no_use_closes_the_shop_and_the_log_names_it() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    shop.launch_host(&variables(&[("limit_user_orders", "plenty")]))?;
    let anybody = shop.anonymous()?;
    let answer = eventually("the gateway answers", PATIENCE, async || {
        Ok(Some(anybody.get("/api/catalog/categories").await?))
    })
    .await?;
    answer.expect_problem(503, "unavailable")?;
    eventually("the log names it", PATIENCE, async || {
        let log = shop.log("host");
        Ok(log
            .contains("the variable limit_user_orders is neither")
            .then_some(()))
    })
    .await
}

/// The script that counts, run by hand: buckets of one key each, with the microseconds that bring one back and how many
/// it holds. Gives for each how many are left, and in how many microseconds one can be drawn and there is one more.
async fn draw(
    redis: &mut redis::aio::MultiplexedConnection,
    buckets: &[(&str, u64, u64)],
) -> Result<Vec<[u64; 3]>> {
    let script = include_str!("../../../components/gateway/src/infrastructure/lua/draw.lua");
    let mut call = redis::cmd("EVAL");
    call.arg(script).arg(buckets.len());
    for (key, _, _) in buckets {
        call.arg(key);
    }
    for (_, interval, holds) in buckets {
        call.arg(interval).arg(holds);
    }
    let numbers: Vec<u64> = call.query_async(redis).await?;
    let standings = numbers.chunks(3).map(<[u64; 3]>::try_from);
    Ok(standings.collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn the_script_draws_as_the_generic_cell_rate_algorithm_does() -> Result<()> {
    const MINUTE: u64 = 60_000_000;
    let mut redis = redis::Client::open(shop_tests::environment::variable("SHOP_TEST_REDIS")?)?
        .get_multiplexed_async_connection()
        .await?;
    let tag = Uuid::now_v7();
    let key = |name: &str| format!("limit:{{{tag}}}:{name}");
    let (one, other) = (key("one"), key("other"));

    // Three at once, then one a minute.
    for left in [2, 1, 0] {
        let [standing] = draw(&mut redis, &[(&one, MINUTE, 3)]).await?[..] else {
            anyhow::bail!("not one bucket")
        };
        assert_eq!(standing[..2], [left, 0]);
        ensure!((1..=MINUTE).contains(&standing[2]), "{standing:?}");
    }
    let standings = draw(&mut redis, &[(&one, MINUTE, 3), (&other, MINUTE, 5)]).await?;
    let [refused, untouched] = standings[..] else {
        anyhow::bail!("not two buckets")
    };
    ensure!(
        refused[0] == 0 && (1..=MINUTE).contains(&refused[1]) && refused[1] == refused[2],
        "{refused:?}"
    );
    assert_eq!(untouched, [5, 0, 0]);
    let standings = draw(&mut redis, &[(&other, MINUTE, 5)]).await?;
    assert_eq!(standings[0][0], 4, "the refusal drew from the other bucket");

    // What stands there ends when the bucket is full again.
    let left_ms: u64 = redis::cmd("PTTL").arg(&one).query_async(&mut redis).await?;
    ensure!((100_000..=180_000).contains(&left_ms), "{left_ms} ms");

    // A limit that was lowered, or a clock that was set back: empty at worst. Garbage: full.
    for (found, left, waits) in [("9000000000000000", 0, true), ("x", 2, false), ("", 2, false)] {
        let key = key("found");
        let _: () = redis::cmd("SET")
            .arg(&key)
            .arg(found)
            .query_async(&mut redis)
            .await?;
        let standings = draw(&mut redis, &[(&key, MINUTE, 3)]).await?;
        assert_eq!((standings[0][0], standings[0][1] > 0), (left, waits), "{found}");
        ensure!(standings[0][1] <= MINUTE, "{standings:?}");
    }

    // One comes back each time its share of the window is over.
    let quick = key("quick");
    let all_at_once = draw(&mut redis, &[(&quick, 50_000, 1)]).await?;
    assert_eq!(all_at_once[0][..2], [0, 0]);
    let start = Instant::now();
    eventually("one is back", PATIENCE, async || {
        Ok((draw(&mut redis, &[(&quick, 50_000, 1)]).await?[0][1] == 0).then_some(()))
    })
    .await?;
    ensure!(
        start.elapsed() >= Duration::from_millis(20),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}
