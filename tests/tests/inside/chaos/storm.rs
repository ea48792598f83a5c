//! People at a shop while things befall it: who they are, and what is asked of the shop afterwards.

use super::clients::Client;
use super::ledger::Ledger;
use super::verdict::{self, Report};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shop_tests::{Actor, Shop, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const CLIENTS: usize = 4;
/// The second flower is bought out.
pub(super) const STOCK: [i64; 2] = [100_000, 150];
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients that place, pay and cancel orders, and a courier who delivers, until they are told to stop.
pub(crate) struct Storm {
    ledger: Arc<Ledger>,
    people: JoinSet<Result<()>>,
    stop: Arc<AtomicBool>,
    /// What is bought.
    pub(crate) flowers: Vec<String>,
}

impl Storm {
    /// Begins in a shop that is well.
    ///
    /// # Errors
    /// If the shop is not.
    pub(crate) async fn begin(shop: &Shop, random: &mut StdRng) -> Result<Self> {
        let mut storm = Self {
            ledger: Arc::default(),
            people: JoinSet::new(),
            stop: Arc::default(),
            flowers: flowers(shop).await?,
        };
        for _ in 0..CLIENTS {
            let client = storm.client(shop.anonymous()?.register().await?, random);
            storm.people.spawn(client.shop(storm.flowers.clone()));
        }
        let courier = storm.client(shop.anonymous()?.courier().await?, random);
        storm.people.spawn(courier.deliver());
        Ok(storm)
    }

    fn client(&self, actor: Actor, random: &mut StdRng) -> Client {
        let random = StdRng::seed_from_u64(random.random());
        Client::new(actor, random, Arc::clone(&self.ledger), Arc::clone(&self.stop))
    }

    /// Ends it in a shop that is well again, and compares what there is with what people were told.
    ///
    /// # Errors
    /// If it does not agree.
    pub(crate) async fn judge(mut self, shop: &Shop) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.people.join_next().await {
            ended??;
        }
        let report = verdict::judge(shop, &self.ledger, &self.flowers).await?;
        shop.expect_clean_audit().await?;
        Ok(report)
    }
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
