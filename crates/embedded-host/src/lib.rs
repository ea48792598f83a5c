//! A small stand-in for [Spin](https://spinframework.dev): reads `spin.toml` and serves its components with
//! wasmtime, so that a machine without Spin runs the very same application.
//!
//! It is never more permissive than Spin: it implements the interfaces that the application's components import
//! (`wasi:http`, `spin:postgres`, `spin:redis`, `spin:variables`, and WASI without files and sockets), enforces
//! `allowed_outbound_hosts`, composes a component with its dependencies, and refuses a manifest with a key that it
//! does not implement. Beyond Spin it bounds
//! what requests may use ([`Limits`]), answers failures as problem details, serves components at addresses of
//! their own, and can be drained.

mod bodies;
mod component;
mod compose;
mod config;
mod dependencies;
mod engine;
mod error;
mod grants;
mod headers;
mod identity;
mod imports;
mod lane;
mod life;
mod loader;
mod manifest;
mod meters;
mod pool;
mod problem;
mod routes;
mod server;
mod start;
mod swap;
mod trace;
mod trial;
mod variables;
mod version;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use config::{Canary, Config, Limits, OnWrite, RESERVED_PATHS, Reuse};
pub use error::{StartError, SwapError};
pub use swap::Swap;
pub use variables::VariableSource;

/// A running application. Dropping it stops it at once; [`Host::drain`] lets it finish.
pub struct Host {
    address: SocketAddr,
    service_addresses: HashMap<String, SocketAddr>,
    server: server::Server,
    /// Chained calls reach components by weak references, so they are kept here even without a route.
    components: HashMap<String, Arc<component::Component>>,
    loader: loader::Loader,
    canaries: HashMap<String, Canary>,
    /// Held by a swap: one at a time, whoever asks for it.
    swapping: tokio::sync::Mutex<()>,
}

impl Host {
    /// Starts the application of the manifest: once this returns, it answers. Needs a tokio runtime; metrics are
    /// recorded by whatever recorder is installed at this time.
    ///
    /// # Errors
    /// Whatever keeps the application from running as the manifest says, as one line without secrets.
    pub async fn start(config: Config) -> Result<Host, StartError> {
        start::start(config).await
    }

    /// Where the application's routes are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where one component is served by itself, if it is.
    pub fn service_address(&self, name: &str) -> Option<SocketAddr> {
        self.service_addresses.get(name).copied()
    }

    /// Stops accepting, lets requests in flight finish for at most `limit`, then ends what is left.
    pub async fn drain(self, limit: Duration) {
        self.server.drain.cancel();
        self.server.tasks.close();
        if tokio::time::timeout(limit, self.server.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.server.tasks.len(),
                "not all requests finished in time"
            );
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.drain.cancel();
        self.server.stop.cancel();
    }
}
