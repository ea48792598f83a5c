//! Clients who shop while something goes on.

use crate::Actor;
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Between two orders of a client, which leaves something of the machine for what goes on.
const PAUSE: Duration = Duration::from_millis(50);

/// Clients who shop at the same time.
pub struct Crowd {
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<Result<Vec<String>>>>,
}

impl Crowd {
    /// So many come, who each order this flower again and again, and look at this and that.
    ///
    /// # Errors
    /// If one cannot register.
    pub async fn come(anybody: &Actor, flower_id: &str, count: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut clients = Vec::new();
        for _ in 0..count {
            let user = anybody.register().await?;
            clients.push(tokio::spawn(shop_on(user, flower_id.to_owned(), stopped.clone())));
        }
        Ok(Self { stop, clients })
    }

    /// They finish what they are at, and go. Gives the orders of all.
    ///
    /// # Errors
    /// If one had an answer that a client does not have in a shop where all is well, or did not order twice.
    pub async fn go(self) -> Result<Vec<String>> {
        self.stop.send(true)?;
        let count = self.clients.len();
        let orders = try_join_all(self.clients).await?;
        let orders = orders.into_iter().collect::<Result<Vec<_>>>()?.concat();
        ensure!(orders.len() > count, "only {} orders were placed", orders.len());
        Ok(orders)
    }
}

async fn shop_on(user: Actor, flower_id: String, mut stop: watch::Receiver<bool>) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    while !*stop.borrow_and_update() {
        tokio::time::sleep(PAUSE).await;
        let order = user.order(&flower_id, 1).await?.expect(201)?;
        orders.push(order["id"].as_str().context("no id")?.to_owned());
        user.get("/api/catalog/flowers?limit=5").await?.expect(200)?;
        user.get("/api/orders?limit=5").await?.expect(200)?;
        user.get("/api/auth/me").await?.expect(200)?;
    }
    Ok(orders)
}
