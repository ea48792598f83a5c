//! Chaos, in the manner of Jepsen (<https://jepsen.io>): clients place, pay, cancel and deliver while processes are
//! killed, servers stopped and paused, connections cut, and relays doubled. What the clients were told is written into
//! a ledger; afterwards databases and broker are held against it.
//!
//! `cargo xtask chaos --minutes N --seed S` runs it longer, or again.

mod clients;
mod ledger;
mod nemesis;
mod storm;
mod verdict;

use crate::alone;
use anyhow::{Context, Result};
use nemesis::Nemesis;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shop_tests::Shop;
use std::time::Duration;
pub(crate) use storm::Storm;

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
    let storm = Storm::begin(&shop, &mut random).await?;
    let mut nemesis = Nemesis::new(shop, StdRng::seed_from_u64(random.random()));
    nemesis.rage(length).await?;
    let shop = nemesis.heal().await?;
    let report = storm.judge(&shop).await?;
    eprintln!("{report}; seed {seed}");
    Ok(())
}
