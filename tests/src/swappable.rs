//! A shop whose components are files of its own, so that other versions can take their place, and what its host says of
//! them.

use crate::environment::root;
use crate::topology::Topology;
use crate::{Shop, eventually};
use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

/// The application's components, which can be swapped.
pub const COMPONENTS: [&str; 6] = ["auth", "catalog", "delivery", "gateway", "ordering", "payment"];

/// Components of a shop's own, as files.
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Starts a shop of such components: host and relay in one process, with these additional arguments.
    ///
    /// # Errors
    /// If the shop does not become healthy.
    pub async fn start(arguments: &[&str]) -> Result<(Shop, Self)> {
        let mut shop = Shop::prepare_in(Topology::Together).await?;
        let files = Self::beside(&shop)?;
        let mut all = vec![files.manifest()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        shop.start_up(&all).await?;
        Ok((shop, files))
    }

    /// Copies of the components, and a manifest that names them, in the shop's folder.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn beside(shop: &Shop) -> Result<Self> {
        let folder = shop.folder().join("components");
        std::fs::create_dir_all(&folder)?;
        for component in COMPONENTS.into_iter().chain(["payment_provider"]) {
            let file = format!("{component}.wasm");
            std::fs::copy(built().join(&file), folder.join(&file))?;
        }
        let manifest = std::fs::read_to_string(root().join("spin.toml"))?;
        let here = folder.to_str().context("no path")?;
        let manifest = manifest.replace("target/components", here);
        std::fs::write(folder.join("spin.toml"), manifest)?;
        Ok(Self { folder })
    }

    /// What a host that is to serve them is told.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("--manifest={}", self.folder.join("spin.toml").display())
    }

    /// The file of a component.
    #[must_use]
    pub fn file(&self, component: &str) -> PathBuf {
        self.folder.join(format!("{component}.wasm"))
    }

    /// Puts these bytes in the place of a component's file, at once, and gives what they are known by.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn put(&self, component: &str, bytes: &[u8]) -> Result<String> {
        let aside = self.folder.join("next.wasm");
        std::fs::write(&aside, bytes)?;
        std::fs::rename(&aside, self.file(component))?;
        Ok(sha256(bytes))
    }

    /// Has a file with these bytes take the place of the version that serves, and waits until it does.
    ///
    /// # Errors
    /// If it does not.
    pub async fn swap(&self, shop: &Shop, component: &str, bytes: &[u8]) -> Result<()> {
        let done = shop.swaps(component, "done").await?;
        self.put(component, bytes)?;
        shop.ask_to_swap().await?;
        shop.await_swaps(component, "done", done + 1).await
    }

    /// The same code as another file, and what that is known by.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put_again(&self, component: &str) -> Result<String> {
        self.put(component, &another(component)?)
    }
}

impl Shop {
    /// Has the host look at its components' files.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn ask_to_swap(&self) -> Result<()> {
        self.signal_host("HUP").await
    }

    /// The sample of a metric with these labels; `None` if there is none.
    ///
    /// # Errors
    /// If the metrics cannot be read.
    pub async fn sample(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
        let [address, ..] = &self.metrics()[..] else {
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

    /// Waits until the version of this digest has all of a component's requests.
    ///
    /// # Errors
    /// If it does not get them.
    pub async fn await_version(&self, component: &str, sha256: &str) -> Result<()> {
        let labels = [("component", component), ("sha256", sha256)];
        eventually("the version serves", PATIENCE, async || {
            let serves = self.sample("embedded_host_version", &labels).await?;
            Ok((serves == Some(1.0)).then_some(()))
        })
        .await
        .with_context(|| format!("{component} {sha256}"))
    }

    /// How often a swap of a component came to this: `done`, `refused` or `taken_back`.
    ///
    /// # Errors
    /// If the metrics cannot be read.
    pub async fn swaps(&self, component: &str, outcome: &str) -> Result<u64> {
        let labels = [("component", component), ("outcome", outcome)];
        let swaps = self.sample("embedded_host_swaps_total", &labels).await?;
        Ok(swaps.unwrap_or_default() as u64)
    }

    /// Waits until each of these orders has shipped.
    ///
    /// # Errors
    /// If one does not.
    pub async fn await_shipped(&self, orders: &[String]) -> Result<()> {
        let ids: Vec<Uuid> = orders.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
        let shipped = "select count(*) from ordering.orders where id = any($1) and status = 'shipping'";
        let database = self.database().await?;
        eventually("all orders have shipped", PATIENCE, async || {
            let shipped: i64 = database.query_one(shipped, &[&ids]).await?.try_get(0)?;
            Ok((usize::try_from(shipped)? == ids.len()).then_some(()))
        })
        .await
    }

    /// Waits until a swap of a component has come to this so often.
    ///
    /// # Errors
    /// If it does not.
    pub async fn await_swaps(&self, component: &str, outcome: &str, count: u64) -> Result<()> {
        let what = format!("{count} swaps of {component} {outcome}");
        eventually(&what, PATIENCE, async || {
            Ok((self.swaps(component, outcome).await? >= count).then_some(()))
        })
        .await
    }
}

/// What a file with these bytes is known by.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A component as it was built, and a section behind it that nobody reads (a custom section, its name one byte): a file
/// that nobody has compiled yet.
///
/// # Errors
/// If it cannot be read.
pub fn another(component: &str) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(built().join(format!("{component}.wasm")))?;
    bytes.extend([0, 18, 1, b'x']);
    bytes.extend(Uuid::new_v4().into_bytes());
    Ok(bytes)
}

fn built() -> PathBuf {
    root().join("target/components")
}
