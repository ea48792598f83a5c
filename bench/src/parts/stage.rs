//! A shop to be measured, with somebody who orders.

use crate::generator::{Connection, Target};
use anyhow::{Context as _, Result, ensure};
use contracts::{EventId, FlowerChanged, FlowerId, Money};
use serde_json::{Value, json};
use shop_tests::events::{cloud_event, hand_over, unix_now};
use shop_tests::{Actor, Shop, eventually};
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two looks at an order, when the time that it takes is measured.
const LOOK: Duration = Duration::from_millis(2);

/// A running shop and a signed-in user.
pub(super) struct Stage {
    pub(super) shop: Shop,
    /// The gateway.
    pub(super) gateway: SocketAddr,
    /// The process that serves, and that relays too if the stage was set here.
    pub(super) pid: u32,
    token: String,
    flower_id: String,
}

impl Stage {
    /// Starts host and relay in one process, as the shop runs, with a flower that can be ordered.
    pub(super) async fn set() -> Result<Self> {
        let mut shop = Shop::prepare().await?;
        shop.start_up(&[]).await?;
        Self::of(shop).await
    }

    /// The same in a shop that runs.
    pub(super) async fn of(mut shop: Shop) -> Result<Self> {
        let pid = pid(&mut shop)?;
        let anybody = shop.anonymous()?;
        let flower_id = anybody.admin().await?.add_flower("Bench Rose", "150.00").await?;
        let user = anybody.register().await?;
        let order = user.order_once_known(&flower_id, "pm_card_visa").await?;
        user.await_status(&order, "shipping").await?;
        Ok(Self {
            gateway: address(&shop.base)?,
            pid,
            token: token(&user)?,
            flower_id,
            shop,
        })
    }

    /// An order of one flower, through the gateway.
    pub(super) fn order(&self) -> Result<Target> {
        Target::post(
            self.gateway,
            "/api/orders",
            &self.token,
            &order_of(&self.flower_id),
        )
    }

    /// Places an order and looks at it again and again until it is `shipping`.
    pub(super) async fn see_shipped(&self, connection: &mut Connection, order: &Target) -> Result<()> {
        let placed = connection.send_json(order).await?;
        let id = placed["id"].as_str().context("an order without id")?;
        let look = Target::get(self.gateway, &format!("/api/orders/{id}"), Some(&self.token))?;
        let seen = async {
            while connection.send_json(&look).await?["status"] != "shipping" {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, seen)
            .await
            .with_context(|| format!("order {id} does not ship"))?
    }

    /// Waits until no order is on its way any more, and gives how many shipped.
    pub(super) async fn await_quiet(&self, limit: Duration) -> Result<i64> {
        let database = self.shop.database().await?;
        let under_way =
            "select count(*) from ordering.orders where status in ('created', 'payment_completed')";
        let quiet = async || {
            let count: i64 = database.query_one(under_way, &[]).await?.try_get(0)?;
            Ok((count == 0).then_some(()))
        };
        eventually("no order is on its way", limit, quiet).await?;
        self.shop
            .count("select count(*) from ordering.orders where status = 'shipping'")
            .await
    }

    /// Ends the shop and removes its database.
    pub(super) async fn strike(mut self) -> Result<()> {
        self.shop.stop_host().await?;
        drop_database(&self.shop).await
    }
}

/// The body of an order of one flower.
pub(super) fn order_of(flower_id: &str) -> Value {
    json!({
        "items": [{"flower_id": flower_id, "quantity": 1}],
        "delivery_address": "1 Rose Street",
    })
}

/// Has ordering hear of a flower without a relay, which would be at work while others are measured.
pub(super) async fn tell_of_a_flower(shop: &Shop, anybody: &Actor) -> Result<String> {
    let flower_id = FlowerId::new();
    let flower = FlowerChanged {
        flower_id,
        version: 1,
        name: "Bench Rose".to_owned(),
        price: Money::rub(15_000)?,
        deleted: false,
    };
    let event = cloud_event(EventId::new(), &flower.into())?;
    let answer = hand_over(anybody, &shop.events_key()?, "ordering", &[event], unix_now()).await?;
    let outcome = answer.expect(200)?["results"][0]["outcome"].take();
    ensure!(
        outcome == "processed",
        "ordering did not take the flower: {outcome}"
    );
    Ok(flower_id.to_string())
}

/// The token of somebody who is signed in.
pub(super) fn token(user: &Actor) -> Result<String> {
    user.token().map(str::to_owned).context("nobody is signed in")
}

/// The process that serves a shop.
pub(super) fn pid(shop: &mut Shop) -> Result<u32> {
    shop.host()
        .and_then(|host| host.id())
        .context("the host has ended")
}

/// The address in `http://<address>`.
pub(super) fn address(base: &str) -> Result<SocketAddr> {
    let address = base.strip_prefix("http://").context("no http address")?;
    Ok(address.parse()?)
}

/// Removes a shop's database, so that its vacuum and its pages do not meet whatever is measured next.
pub(super) async fn drop_database(shop: &Shop) -> Result<()> {
    shop.drop_databases().await
}
