//! What can keep the embedded host from starting, each as one clear line that holds no secret.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        reason: String,
    },
    /// The manifest is not what Spin would take, or asks for what this host does not have.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A variable has no value, or a source of values is broken.
    #[error("{0}")]
    Variable(String),
    /// A component's wasm is missing, broken or wants an import that this host does not have.
    #[error("component \"{component}\": {reason}")]
    Component {
        /// The component's name in the manifest.
        component: String,
        /// What is wrong.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's word for it.
        reason: String,
    },
    /// A service address names no component of the manifest, or one twice.
    #[error("service address for \"{component}\": {reason}")]
    ServiceAddress {
        /// The name as given.
        component: String,
        /// What is wrong.
        reason: String,
    },
    /// wasmtime could not be set up on this machine.
    #[error("cannot set up wasmtime: {0}")]
    Engine(String),
}

/// Why a version of a component would not do. What served before goes on.
#[derive(Debug, thiserror::Error)]
#[error("component \"{component}\": {reason}")]
pub struct SwapError {
    /// The component's name in the manifest.
    pub component: String,
    /// What is wrong.
    pub reason: String,
}
