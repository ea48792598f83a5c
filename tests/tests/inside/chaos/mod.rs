//! Chaos, in the manner of Jepsen (<https://jepsen.io>): clients place, pay, cancel and deliver while processes are
//! killed, servers stopped and paused, connections cut, and relays doubled. What the clients were told is written into
//! a ledger; afterwards databases and broker are held against it.
//!
//! `cargo xtask chaos --minutes N --seed S` runs it longer, or again.

mod clients;
mod ledger;
mod nemesis;
mod verdict;

use crate::alone;
use anyhow::{Context, Result};
use clients::Client;
use ledger::Ledger;
use nemesis::Nemesis;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shop_tests::{Actor, Shop, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const CLIENTS: usize = 4;
/// The second of them is bought out.
const STOCK: [i64; 2] = [100_000, 150];
const PATIENCE: Duration = Duration::from_secs(60);

fn setting(name: &str) -> Result<Option<u64>> {
    let text = std::env::var(name).ok();
    let number = text.map(|text| text.parse().with_context(|| format!("{name} is no number")));
    number.transpose()
}

#[tokio::test]
async fn whatever_is_killed_stopped_and_cut_off_money_stock_and_orders_agree_with_what_clients_were_told()
-> Result<()> {
    let _alone = alone().await;
    let length = Duration::from_secs(setting("SHOP_CHAOS_SECONDS")?.unwrap_or(120));
    let seed = setting("SHOP_CHAOS_SEED")?.unwrap_or_else(rand::random);
    run(length, seed)
        .await
        .with_context(|| format!("SHOP_CHAOS_SEED={seed}"))
}

async fn run(length: Duration, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut shop = Shop::prepare_linked().await?;
    shop.start_host().await?;
    for _ in 0..nemesis::RELAYS {
        shop.start_relay(&[]).await?;
    }
    let flowers = flowers(&shop).await?;
    let ledger = Arc::new(Ledger::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let actor = shop.anonymous()?.register().await?;
        let random = StdRng::seed_from_u64(random.random());
        let client = Client::new(actor, random, Arc::clone(&ledger), Arc::clone(&stop));
        clients.spawn(client.shop(flowers.clone()));
    }
    let courier = shop.anonymous()?.courier().await?;
    let courier_random = StdRng::seed_from_u64(random.random());
    let courier = Client::new(courier, courier_random, Arc::clone(&ledger), Arc::clone(&stop));
    clients.spawn(courier.deliver());

    let mut nemesis = Nemesis::new(shop, StdRng::seed_from_u64(random.random()));
    nemesis.rage(length).await?;
    let shop = nemesis.heal().await?;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let report = verdict::judge(&shop, &ledger, &flowers).await?;
    eprintln!("{report}; seed {seed}");
    Ok(())
}

/// Flowers of which the stock at the start is known, once ordering knows them.
async fn flowers(shop: &Shop) -> Result<Vec<String>> {
    let (admin, user) = (
        shop.anonymous()?.admin().await?,
        shop.anonymous()?.register().await?,
    );
    let mut flowers = Vec::new();
    for stock in STOCK {
        let id = admin.add_flower("Rose in a storm", "150.00").await?;
        let probe = user.order_once_known(&id, "pm_card_chargeDeclined").await?;
        cancel(&user, &probe).await?;
        let path = format!("/api/catalog/flowers/{id}");
        let back = async || Ok((admin.get(&path).await?.json()["stock_quantity"] == 1_000_000).then_some(()));
        eventually("the stock is back", PATIENCE, back).await?;
        let change = serde_json::json!({"stock_delta": stock - 1_000_000});
        admin.patch(&path, &change).await?.expect(200)?;
        flowers.push(id);
    }
    Ok(flowers)
}

async fn cancel(user: &Actor, order_id: &str) -> Result<()> {
    let path = format!("/api/orders/{order_id}/cancel");
    user.post(&path, &serde_json::json!({})).await?.expect(200)?;
    Ok(())
}
