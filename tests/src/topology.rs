//! How a shop is laid out over processes and databases.

use crate::environment::root;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::str::FromStr;

/// How a shop is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One host serves all components; their schemas are in one database.
    Together,
    /// Each component has a host of its own, as `cargo xtask manifests` writes it, and finds the others by URL; each
    /// service has a database of its own.
    Split,
    /// Two hosts that serve everything, and a relay for each, on the same stores.
    Doubled,
}

impl Topology {
    /// What `SHOP_TEST_TOPOLOGY` says, by default [`Self::Together`].
    ///
    /// # Errors
    /// If there is no such topology.
    pub fn of_environment() -> Result<Self> {
        match std::env::var("SHOP_TEST_TOPOLOGY") {
            Ok(name) => name.parse(),
            Err(_) => Ok(Self::Together),
        }
    }

    /// The hosts: what each is called, and its manifest if that is not the application's. The first one is where clients come.
    pub(crate) fn hosts(self) -> Vec<(String, Option<PathBuf>)> {
        let whole = |name: &str| (name.to_owned(), None);
        let alone = |component: &str| {
            let manifest = root().join(format!("target/manifests/{component}.toml"));
            (component.to_owned(), Some(manifest))
        };
        match self {
            Self::Together => vec![whole("host")],
            Self::Doubled => vec![whole("host"), whole("host-2")],
            Self::Split => ["gateway", "auth", "catalog", "ordering", "payment", "delivery"]
                .map(alone)
                .into(),
        }
    }
}

impl FromStr for Topology {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "together" => Ok(Self::Together),
            "split" => Ok(Self::Split),
            "doubled" => Ok(Self::Doubled),
            _ => bail!("no topology {name:?}: there are together, split and doubled"),
        }
    }
}
