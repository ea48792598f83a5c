//! Redis as a cluster: a node that has all slots and, as each of a real one's, refuses a command whose keys lie in more
//! than one of them.

use crate::alone;
use anyhow::{Context, Result, ensure};
use redis::aio::MultiplexedConnection;
use shop_tests::shop::free_ports;
use shop_tests::{Shop, eventually};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis of one's own; it ends with this value.
struct Node {
    _process: Child,
    url: String,
    connection: MultiplexedConnection,
}

impl Node {
    async fn start(folder: &Path) -> Result<Self> {
        let [port, bus] = free_ports()?;
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()])
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start redis-server")?;
        let url = format!("redis://127.0.0.1:{port}");
        let client = redis::Client::open(url.as_str())?;
        let mut connection = eventually("Redis answers", PATIENCE, async || {
            Ok(Some(client.get_multiplexed_async_connection().await?))
        })
        .await?;
        let all: [&str; 3] = ["ADDSLOTSRANGE", "0", "16383"];
        let _: () = redis::cmd("CLUSTER")
            .arg(&all)
            .query_async(&mut connection)
            .await?;
        eventually("the cluster is there", PATIENCE, async || {
            let info: String = redis::cmd("CLUSTER")
                .arg("INFO")
                .query_async(&mut connection.clone())
                .await?;
            Ok(info.contains("cluster_state:ok").then_some(()))
        })
        .await?;
        Ok(Self {
            _process: process,
            url,
            connection,
        })
    }

    async fn info(&self, section: &str) -> Result<String> {
        let mut connection = self.connection.clone();
        Ok(redis::cmd("INFO")
            .arg(section)
            .query_async(&mut connection)
            .await?)
    }
}

#[tokio::test]
async fn no_command_spans_two_slots() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    let node = Node::start(shop.folder()).await?;
    shop.set_variables(&[
        ("redis", &node.url),
        // A cluster has no other.
        ("redis_database", "0"),
        ("limit_address_requests", "100000/min"),
        ("limit_address_logins", "1000/min"),
        ("limit_address_registrations", "1000/min"),
        ("limit_user_requests", "3/min"),
        ("limit_user_orders", "1000/min"),
    ])?;
    shop.start_host().await?;
    shop.start_relay(&[]).await?;
    let anybody = shop.anonymous()?;

    // What the cache does: one flower, lists, a change that makes both old.
    let admin = anybody.admin().await?;
    let rose = anybody.rose().await?;
    let path = format!("/api/catalog/flowers/{rose}");
    for _ in 0..2 {
        anybody.get(&path).await?.expect(200)?;
        anybody.get("/api/catalog/flowers?limit=5").await?.expect(200)?;
        anybody.get("/api/catalog/bouquets?limit=5").await?.expect(200)?;
        anybody.get("/api/catalog/categories").await?.expect(200)?;
    }
    let change = serde_json::json!({"stock_delta": 1});
    admin.patch(&path, &change).await?.expect(200)?;
    anybody.get(&path).await?.expect(200)?;

    // What the limits do: of address and user at once, up to a refusal.
    let user = anybody.register().await?;
    let order = user.order(&rose, 1).await?.expect(201)?;
    let order = order["id"].as_str().context("no id")?;
    eventually("the user's limit is reached", PATIENCE, async || {
        let answer = user.get(&format!("/api/orders/{order}")).await?;
        Ok((answer.status == 429).then_some(()))
    })
    .await?;
    let health = anybody.get("/health").await?.expect(200)?;
    assert_eq!(health["checks"]["redis"], "ok");

    let errors = node.info("errorstats").await?;
    for kind in ["CROSSSLOT", "MOVED", "CLUSTERDOWN"] {
        ensure!(!errors.contains(kind), "Redis refused something: {errors}");
    }
    let used = node.info("commandstats").await?;
    for command in ["eval", "get", "set", "del"] {
        ensure!(
            used.contains(&format!("cmdstat_{command}:")),
            "no {command}: {used}"
        );
    }
    // It would have been seen.
    let mut connection = node.connection.clone();
    let spanning = redis::cmd("MGET")
        .arg(&["one", "another"])
        .exec_async(&mut connection)
        .await;
    ensure!(spanning.is_err(), "Redis takes a command over two slots");
    ensure!(node.info("errorstats").await?.contains("CROSSSLOT"));
    Ok(())
}
