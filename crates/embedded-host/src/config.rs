//! What the embedded host is told at its start: where the manifest is, where to listen, how much of everything
//! it may use. Nothing here is read from files or the environment, except by [`Config::new`].

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::variables::VariableSource;

/// Called after a component answered a request that may have written something: the method is not GET, HEAD or
/// OPTIONS, and the status is below 500. It gets the component's name and must return at once.
pub type OnWrite = Arc<dyn Fn(&str) + Send + Sync>;

/// What [`crate::Host::start`] needs to know.
#[derive(Clone)]
pub struct Config {
    /// The application's manifest, `spin.toml`.
    pub manifest: PathBuf,
    /// Where the application's routes are served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Components that are also served at an address of their own, where every path goes to that component.
    pub service_addresses: Vec<(String, SocketAddr)>,
    /// Values of variables, in the order given; of two for one name the later wins.
    pub variables: Vec<VariableSource>,
    /// The environment that is asked next, by the name `SPIN_VARIABLE_<NAME>`.
    pub environment: HashMap<String, String>,
    /// What everybody knows: no variable that the manifest calls a secret may have one of these values.
    pub known_secrets: HashSet<String>,
    /// Where compiled components are kept between starts. `None` compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// Bounds on what requests may use.
    pub limits: Limits,
    /// Paths that have room of their own each ([`Limits::reserved_per_component`]): what must go on while clients are
    /// turned away. `{component}` stands for the name of the component that answers.
    pub reserved_paths: Vec<String>,
    /// Of how many traces a second to a component a client may say that they be recorded; of others only the ids are
    /// kept.
    pub client_traces_per_second: u32,
    /// How long an instance serves.
    pub reuse: Reuse,
    /// What a component is asked before a new version of it serves: this must be answered with 2xx.
    pub probe_path: String,
    /// Components of which a new version is tried beside the one that serves, before it serves alone.
    pub canaries: HashMap<String, Canary>,
    /// Told after each request that may have written.
    pub on_write: Option<OnWrite>,
}

impl Config {
    pub(crate) fn reserved_paths_of(&self, component: &str) -> Vec<String> {
        let paths = self.reserved_paths.iter();
        paths.map(|path| path.replace("{component}", component)).collect()
    }

    /// A configuration with the defaults for everything else; takes `SPIN_VARIABLE_*` from the process'
    /// environment.
    pub fn new(manifest: impl Into<PathBuf>, listen: SocketAddr) -> Config {
        Config {
            manifest: manifest.into(),
            listen,
            service_addresses: Vec::new(),
            variables: Vec::new(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(name, _)| name.starts_with("SPIN_VARIABLE_"))
                .collect(),
            known_secrets: HashSet::new(),
            cache_dir: None,
            limits: Limits::default(),
            reserved_paths: RESERVED_PATHS.map(str::to_owned).into(),
            client_traces_per_second: 10,
            reuse: Reuse::default(),
            probe_path: "/health".to_owned(),
            canaries: HashMap::new(),
            on_write: None,
        }
    }
}

/// What has room of its own by default: what an application's own parts and whoever watches it ask for.
pub const RESERVED_PATHS: [&str; 4] = [
    "/internal/{component}/events",
    "/internal/{component}/health",
    "/health",
    "/health/live",
];

/// How a new version of a component is tried: if more of its answers are errors (5xx, traps, none in time) than of the
/// other's, it is taken back; else it serves alone in the end.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    /// Which part of the component's requests it has meanwhile, above 0 and below 1.
    pub share: f64,
    /// For how long, at least: it serves alone only after 20 answers.
    pub time: Duration,
}

/// Bounds on what requests may use. Those on instances, requests and connections hold for each component by
/// itself, so that a flood at one cannot take what another needs.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a component may take over its answer once the request is here; then 503. The body of a
    /// request must arrive in the same time; else 408.
    pub request_timeout: Duration,
    /// How long a client may take over the head of its request; then 408.
    pub header_read_timeout: Duration,
    /// How long a connection may be idle, or a client take nothing of its answer; then it is closed.
    pub idle_timeout: Duration,
    /// Bytes of a request's line and headers; then 431.
    pub max_head_bytes: usize,
    /// Bytes of a request's line; then 414.
    pub max_request_line_bytes: usize,
    /// Bytes of a request's body; then 413.
    pub max_body_bytes: u64,
    /// Bytes of all bodies that a component's requests have at a time; then 503.
    pub max_bodies_bytes: u64,
    /// Bytes of memory of one instance, and as many again for each dependency that is composed into it.
    pub max_instance_bytes: usize,
    /// Instances of one component that live at the same time.
    pub instances_per_component: u32,
    /// Requests that one component works on at the same time.
    pub requests_per_component: usize,
    /// Requests that wait for one component beyond those; then 503.
    pub queue_per_component: usize,
    /// Requests to one reserved path that a component works on beyond those, and as many more that wait.
    pub reserved_per_component: usize,
    /// How long a request waits in that queue; then 503.
    pub queue_timeout: Duration,
    /// Connections to one Postgres address by one component.
    pub postgres_connections: usize,
    /// Client connections of one listener; a further one is answered 503 and closed.
    pub max_connections: usize,
    /// Client connections of one listener from one address (IPv6: one network of /64); likewise.
    pub max_connections_per_address: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_timeout: Duration::from_secs(30),
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_head_bytes: 32 * 1024,
            max_request_line_bytes: 8 * 1024,
            max_body_bytes: 2 * 1024 * 1024,
            max_bodies_bytes: 64 * 1024 * 1024,
            max_instance_bytes: 64 * 1024 * 1024,
            instances_per_component: 32,
            requests_per_component: 256,
            queue_per_component: 256,
            reserved_per_component: 16,
            queue_timeout: Duration::from_secs(2),
            postgres_connections: 16,
            max_connections: 4096,
            max_connections_per_address: 1024,
        }
    }
}

/// How long an instance serves before it is replaced. The defaults are Spin's.
#[derive(Clone, Copy, Debug)]
pub struct Reuse {
    /// Requests that one instance answers in its life; 1 gives each request an instance of its own.
    pub max_requests: usize,
    /// Requests that one instance works on at the same time.
    pub max_concurrent_requests: usize,
    /// How long an instance may wait for its next request.
    pub idle_timeout: Duration,
}

impl Default for Reuse {
    fn default() -> Reuse {
        Reuse {
            max_requests: 128,
            max_concurrent_requests: 16,
            idle_timeout: Duration::from_secs(1),
        }
    }
}

impl Reuse {
    /// A fresh instance for each request.
    pub fn never() -> Reuse {
        Reuse {
            max_requests: 1,
            max_concurrent_requests: 1,
            ..Reuse::default()
        }
    }
}
