//! What 200,000 requests of all kinds leave behind in the host: nothing.

use crate::{Host, PATIENCE, place};
use anyhow::{Result, ensure};
use reqwest::Client;
use shop_tests::environment::variable;
use shop_tests::eventually;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;

const REQUESTS: usize = 200_000;
/// After so many the host has all the pools, buffers and instances that it will ever need.
const WARM_UP: usize = 20_000;
const CLIENTS: usize = 32;
/// A client begins a connection of its own after so many requests.
const REQUESTS_PER_CONNECTION: usize = 1_000;
/// So many of one load the host may turn away: a machine that stands still for longer than one may wait has it turn away
/// all who do.
const TURNED_AWAY: usize = 4 * CLIENTS;
/// A leak of 100 bytes a request would be 20 MB.
const TOLERANCE: u64 = 16 * 1024 * 1024;

/// Sends the request of this number: mostly good ones, and some of everything that can go wrong. Gives whether it was
/// turned away.
async fn request(client: &Client, host: &Host, number: usize, postgres: &str, redis: &str) -> Result<bool> {
    let url = |path: &str| format!("{}{path}", host.base);
    let body = || vec![b'x'; 10_000];
    let (request, expected) = match number % 1_000 {
        0 => (client.get(url("/wild/trap")), 502),
        1..=4 => (client.get(url("/wild/short")), 502),
        5..=54 => (client.get(url("/nowhere")), 404),
        55..=104 => (client.post(url("/tame/age")).body(body()), 200),
        105..=154 => (client.get(url("/wild/redis")).header("x-address", redis), 200),
        155..=194 => (
            client.get(url("/wild/postgres")).header("x-address", postgres),
            200,
        ),
        195..=244 => (
            client
                .get(url("/wild/http"))
                .header("x-address", "http://tame.spin.internal/age"),
            200,
        ),
        245..=249 => (client.get(url(&format!("/{}", "a".repeat(9_000)))), 414),
        250..=254 => (client.get(url("/tame/age")).header("x", "a".repeat(40_000)), 431),
        255..=264 => (client.get(url("/tame/age")).header("expect", "miracles"), 417),
        _ => (client.get(url("/tame/age")), 200),
    };
    let response = request.send().await?;
    let status = response.status().as_u16();
    response.bytes().await?;
    // What shares its instance with a trap may be hurt.
    let is_hurt = status == 502 && number % 1_000 < 245;
    let is_turned_away = status == 503;
    ensure!(
        status == expected || is_hurt || is_turned_away,
        "{number}: {status} instead of {expected}"
    );
    Ok(is_turned_away)
}

/// Sends so many requests, over many connections at a time.
async fn load(host: &Arc<Host>, requests: usize, postgres: &str, redis: &str) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut turned_away = 0;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (host, next) = (Arc::clone(host), Arc::clone(&next));
        let (postgres, redis) = (postgres.to_owned(), redis.to_owned());
        clients.spawn(async move {
            let mut turned_away = 0;
            loop {
                let client = Client::builder().timeout(PATIENCE).build()?;
                for _ in 0..REQUESTS_PER_CONNECTION {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return anyhow::Ok(turned_away);
                    }
                    let is_turned_away = request(&client, &host, number, &postgres, &redis).await?;
                    turned_away += usize::from(is_turned_away);
                }
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        turned_away += done??;
    }
    ensure!(
        turned_away <= TURNED_AWAY,
        "{turned_away} requests were turned away"
    );
    Ok(())
}

#[tokio::test]
async fn memory_stays_flat_over_200_000_mixed_requests() -> Result<()> {
    let (postgres, redis) = (variable("SHOP_TEST_POSTGRES")?, variable("SHOP_TEST_REDIS")?);
    let host = Arc::new(
        Host::start(&[
            ("granted_postgres", &place(&postgres, "postgres")?),
            ("granted_redis", &place(&redis, "redis")?),
        ])
        .await?,
    );
    load(&host, WARM_UP, &postgres, &redis).await?;
    let before = host.resident_bytes()?;
    load(&host, REQUESTS, &postgres, &redis).await?;
    // Instances that are no longer needed take a second to go.
    let what = format!("the host has no more than {TOLERANCE} bytes above the {before} it had");
    eventually(&what, PATIENCE, async || {
        let now = host.resident_bytes()?;
        ensure!(now <= before + TOLERANCE, "it has {now} bytes");
        Ok(Some(()))
    })
    .await?;
    println!(
        "{before} bytes after {WARM_UP} requests, {} after {REQUESTS} more",
        host.resident_bytes()?
    );
    Ok(())
}
