//! New versions of components take the place of those that serve, while clients shop.

use crate::alone;
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use sha2::{Digest as _, Sha256};
use shop_tests::environment::root;
use shop_tests::shop::signal;
use shop_tests::{Actor, Shop, eventually};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);
const COMPONENTS: [&str; 6] = ["auth", "catalog", "delivery", "gateway", "ordering", "payment"];

/// How often each component is swapped while clients shop.
const ROUNDS: u8 = 3;

/// Clients that shop at the same time.
const CLIENTS: usize = 4;

/// A shop whose components are files of its own.
struct Swappable {
    shop: Shop,
    folder: PathBuf,
}

impl Swappable {
    async fn start(arguments: &[&str]) -> Result<Self> {
        let mut shop = Shop::prepare().await?;
        let folder = shop.folder().join("components");
        std::fs::create_dir_all(&folder)?;
        let built = root().join("target/wasm32-wasip2/wasm");
        for component in COMPONENTS.into_iter().chain(["payment_provider"]) {
            let file = format!("{component}.wasm");
            std::fs::copy(built.join(&file), folder.join(&file))?;
        }
        let manifest = std::fs::read_to_string(root().join("spin.toml"))?;
        let here = folder.to_str().context("no path")?;
        let manifest = manifest.replace("target/wasm32-wasip2/wasm", here);
        std::fs::write(folder.join("spin.toml"), manifest)?;
        let mut all = vec![format!("--manifest={here}/spin.toml")];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        shop.start_up(&all).await?;
        Ok(Self { shop, folder })
    }

    fn file(&self, component: &str) -> PathBuf {
        self.folder.join(format!("{component}.wasm"))
    }

    /// Puts these bytes in the place of a component's file, at once, and gives what they are known by.
    fn put(&self, component: &str, bytes: &[u8]) -> Result<String> {
        let aside = self.folder.join("next.wasm");
        std::fs::write(&aside, bytes)?;
        std::fs::rename(&aside, self.file(component))?;
        Ok(sha256(bytes))
    }

    /// The same code as another file.
    fn put_again(&self, component: &str, mark: u8) -> Result<String> {
        let bytes = marked(&self.file(component), mark)?;
        self.put(component, &bytes)
    }

    async fn ask_to_swap(&mut self) -> Result<()> {
        signal(self.shop.host().context("no host")?, "HUP").await
    }

    /// The sample of a metric with these labels; `None` if there is none.
    async fn sample(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
        let [address, ..] = &self.shop.metrics()[..] else {
            anyhow::bail!("no metrics")
        };
        let text = reqwest::get(format!("http://{address}/metrics"))
            .await?
            .text()
            .await?;
        let has = |line: &str, (label, value): &(&str, &str)| line.contains(&format!("{label}=\"{value}\""));
        let mut lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        let line = lines.find(|line| labels.iter().all(|label| has(line, label)));
        let value = line.and_then(|line| line.rsplit(' ').next());
        Ok(value.map(str::parse).transpose()?)
    }

    async fn await_version(&self, component: &str, sha256: &str) -> Result<()> {
        let labels = [("component", component), ("sha256", sha256)];
        eventually("the version serves", PATIENCE, async || {
            let serves = self.sample("embedded_host_version", &labels).await?;
            Ok((serves == Some(1.0)).then_some(()))
        })
        .await
        .with_context(|| format!("{component} {sha256}"))
    }

    async fn swaps(&self, component: &str, outcome: &str) -> Result<f64> {
        let labels = [("component", component), ("outcome", outcome)];
        let swaps = self.sample("embedded_host_swaps_total", &labels).await?;
        Ok(swaps.unwrap_or_default())
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A component and a section behind it that nobody reads (a custom section, its name one byte).
fn marked(file: &Path, mark: u8) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(file)?;
    bytes.extend([0, 2, 1, mark]);
    Ok(bytes)
}

/// Shops until it is told to stop; every answer has to be as without any swap. Gives how many orders there are.
async fn shop_on(user: Actor, rose: String, mut stop: watch::Receiver<bool>) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    while !*stop.borrow_and_update() {
        let order = user.order(&rose, 1).await?.expect(201)?;
        orders.push(order["id"].as_str().context("no id")?.to_owned());
        user.get("/api/catalog/flowers?limit=5").await?.expect(200)?;
        user.get("/api/orders?limit=5").await?.expect(200)?;
        user.get("/api/auth/me").await?.expect(200)?;
    }
    Ok(orders)
}

#[tokio::test]
async fn a_new_version_takes_over_without_a_request_or_an_event_lost() -> Result<()> {
    let _alone = alone().await;
    let mut swappable = Swappable::start(&[]).await?;
    let anybody = swappable.shop.anonymous()?;
    let rose = anybody
        .admin()
        .await?
        .add_flower("Swapped rose", "150.00")
        .await?;
    let first = anybody.register().await?;
    first.order_once_known(&rose, "pm_card_visa").await?;
    let (stop, stopped) = watch::channel(false);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let user = anybody.register().await?;
        clients.push(tokio::spawn(shop_on(user, rose.clone(), stopped.clone())));
    }
    for round in 0..ROUNDS {
        for component in COMPONENTS {
            let sha256 = swappable.put_again(component, round)?;
            swappable.ask_to_swap().await?;
            // Of one with a dependency the digest is of both.
            match component {
                "payment" => {
                    eventually("payment is swapped", PATIENCE, async || {
                        let swaps = swappable.swaps(component, "done").await?;
                        Ok((swaps >= f64::from(round) + 1.0).then_some(()))
                    })
                    .await?;
                }
                _ => swappable.await_version(component, &sha256).await?,
            }
        }
    }
    stop.send(true)?;
    let orders = try_join_all(clients).await?;
    let mut count = 0;
    for order in orders.into_iter().collect::<Result<Vec<_>>>()?.concat() {
        count += 1;
        first
            .at(&swappable.shop.base)
            .admin()
            .await?
            .await_status(&order, "shipping")
            .await?;
    }
    ensure!(count > CLIENTS, "only {count} orders were placed meanwhile");
    swappable.shop.expect_clean_audit().await?;
    let dead = "select count(*) from bridge.dead_letters";
    assert_eq!(swappable.shop.count(dead).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_file_that_would_not_do_leaves_what_serves_alone() -> Result<()> {
    let _alone = alone().await;
    let mut swappable = Swappable::start(&[]).await?;
    let anybody = swappable.shop.anonymous()?;
    let good = std::fs::read(swappable.file("catalog"))?;
    let half = &good[..good.len() / 2];
    let greedy = wat::parse_str(r#"(component (import "shop:nowhere/thing" (func)))"#)?;
    let deaf = wat::parse_str("(component)")?;
    let bad: [(&[u8], &str); 4] = [
        (half, "truncated"),
        (&greedy, "an import too many"),
        (&deaf, "no export"),
        (b"no wasm", "no wasm"),
    ];
    for (number, (bytes, what)) in bad.into_iter().enumerate() {
        swappable.put("catalog", bytes)?;
        swappable.ask_to_swap().await?;
        eventually(what, PATIENCE, async || {
            let refused = swappable.swaps("catalog", "refused").await?;
            Ok((refused > number as f64).then_some(()))
        })
        .await?;
        anybody.get("/api/catalog/flowers?limit=5").await?.expect(200)?;
    }
    swappable.await_version("catalog", &sha256(&good)).await?;
    assert_eq!(swappable.swaps("catalog", "done").await?, 0.0);
    let log = swappable.shop.whole_log("host")?;
    let lines = log.lines().filter(|line| line.contains("a version would not do"));
    assert_eq!(lines.count(), 4, "one line each");
    Ok(())
}

#[tokio::test]
async fn a_host_that_watches_swaps_by_itself() -> Result<()> {
    let _alone = alone().await;
    let swappable = Swappable::start(&["--watch"]).await?;
    let sha256 = swappable.put_again("delivery", 7)?;
    swappable.await_version("delivery", &sha256).await
}
