//! Keeps a shop open, laid out as the first argument says, until standard input ends. Its first line says where clients
//! come, the second where services answer that have hosts of their own. `cargo xtask test` sends the black-box tests there.

use anyhow::{Context, Result};
use shop_tests::Shop;
use shop_tests::topology::Topology;
use std::io::Write as _;
use tokio::io::AsyncReadExt as _;

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("which topology?")?;
    let topology: Topology = name.parse()?;
    let mut shop = Shop::prepare_in(topology).await?;
    shop.limit_as_usual()?;
    shop.start_host().await?;
    for _ in shop.bases() {
        shop.start_relay(&[]).await?;
    }
    let mut said = std::io::stdout();
    writeln!(said, "{}", shop.bases().join(" "))?;
    let services = shop.services().into_iter();
    let services: Vec<String> = services.map(|(name, base)| format!("{name}={base}")).collect();
    writeln!(said, "{}", services.join(" "))?;
    said.flush()?;
    // Whoever started this ends it by closing its end.
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    shop.stop_relays().await?;
    shop.stop_host().await
}
