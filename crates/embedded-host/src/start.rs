//! From a configuration to a running host: everything that can fail does so here, before the first request.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::try_join_all;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime::Engine;

use crate::Host;
use crate::component::Component;
use crate::config::Config;
use crate::engine::{self, Totals};
use crate::error::StartError;
use crate::grants::Grants;
use crate::headers::RouteHeaders;
use crate::imports::Surroundings;
use crate::imports::http::{Client, Neighbours};
use crate::imports::postgres::Pools;
use crate::loader::{Loader, Recipe, Urgency};
use crate::manifest::{ComponentEntry, Manifest};
use crate::meters::{self, Meters};
use crate::pool::RESERVED_INSTANCES;
use crate::routes::Router;
use crate::server::{Routes, Server, Target};
use crate::variables::Variables;
use crate::version;

/// So many versions of each component have instances at the same time: one serves, and another is on trial or still
/// answers what it had. Room for them costs addresses, not memory.
const VERSIONS_AT_ONCE: u32 = 2;

type Components = HashMap<String, Arc<Component>>;

pub(crate) async fn start(config: Config) -> Result<Host, StartError> {
    let manifest = Manifest::read(&config.manifest)?;
    check_services(&config, &manifest)?;
    let variables = Variables::resolve(&manifest.variables, &config.variables, &config.environment)?;
    variables.refuse(&manifest.variables, &config.known_secrets)?;
    let client = Client::new(Neighbours::default());
    let recipes = recipes(&config, &manifest, &variables, &client)?;
    drop(variables);

    // Before the components are compiled: a taken port is found out at once.
    let listener = listen(config.listen).await?;
    let mut service_listeners = Vec::new();
    for (name, address) in &config.service_addresses {
        service_listeners.push((name.clone(), listen(*address).await?));
    }

    meters::describe();
    version::describe();
    let engine = start_engine(&config, &manifest)?;
    let loader = Loader::new(config.clone(), engine, recipes);
    let components = load(&config, &loader).await?;
    client.introduce(&components);
    serve(&config, manifest, components, loader, listener, service_listeners)
}

fn check_services(config: &Config, manifest: &Manifest) -> Result<(), StartError> {
    let mut seen = HashSet::new();
    for (name, _) in &config.service_addresses {
        let failed = |reason: &str| StartError::ServiceAddress {
            component: name.clone(),
            reason: reason.to_owned(),
        };
        if !manifest.components.contains_key(name) {
            return Err(failed("the manifest has no such component"));
        }
        if !seen.insert(name) {
            return Err(failed("it is given twice"));
        }
    }
    let mut canaries = config.canaries.keys();
    match canaries.find(|name| !manifest.components.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(StartError::Component {
            component: name.clone(),
            reason: "there is a canary for it, but the manifest has none".to_owned(),
        }),
    }
}

/// What each component is made with, its templates filled in.
fn recipes(
    config: &Config,
    manifest: &Manifest,
    variables: &Variables,
    client: &Client,
) -> Result<HashMap<String, Recipe>, StartError> {
    let mut all = HashMap::new();
    for (name, entry) in &manifest.components {
        let meters = Arc::new(Meters::of(name));
        let surroundings = surround(config, name, entry, variables, client, &meters).map_err(|reason| {
            StartError::Component {
                component: name.clone(),
                reason,
            }
        })?;
        all.insert(name.clone(), Recipe::new(entry, surroundings, meters));
    }
    Ok(all)
}

fn surround(
    config: &Config,
    name: &str,
    entry: &ComponentEntry,
    variables: &Variables,
    client: &Client,
    meters: &Meters,
) -> Result<Surroundings, String> {
    let mut values = HashMap::new();
    for (name, template) in &entry.variables {
        values.insert(name.clone(), variables.render(template)?);
    }
    meters
        .postgres_limit
        .set(config.limits.postgres_connections.max(1) as f64);
    Ok(Surroundings {
        component: name.into(),
        variables: values,
        grants: Grants::resolve(&entry.allowed_outbound_hosts, variables)?,
        postgres: Pools::new(name, config.limits.postgres_connections.max(1)),
        http: client.clone(),
        max_memory: config.limits.max_instance_bytes,
        max_memories: entry.parts().saturating_mul(engine::MEMORIES_PER_PART),
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen {
            address,
            reason: error.to_string(),
        })
}

fn start_engine(config: &Config, manifest: &Manifest) -> Result<Engine, StartError> {
    let components = u32::try_from(manifest.components.len()).unwrap_or(u32::MAX);
    let parts = manifest.components.values().map(ComponentEntry::parts);
    let parts_per_instance = parts.clone().max().unwrap_or(1);
    let parts = parts.fold(0, u32::saturating_add);
    let each = config.limits.instances_per_component.max(1);
    let each = each.saturating_add(RESERVED_INSTANCES);
    let each = each.saturating_mul(VERSIONS_AT_ONCE);
    let totals = Totals {
        instances: each.saturating_mul(components),
        parts: each.saturating_mul(parts),
        parts_per_instance,
        requests_per_instance: u32::try_from(config.reuse.max_concurrent_requests).unwrap_or(u32::MAX),
        max_instance_bytes: config.limits.max_instance_bytes,
    };
    engine::start(&totals, config.cache_dir.as_deref())
}

/// Compiles all components side by side.
async fn load(config: &Config, loader: &Loader) -> Result<Components, StartError> {
    let versions = loader.recipes().map(async |(name, recipe)| {
        let code = loader.read(name).await?;
        let version = loader.compile(name, code, Urgency::Now).await?;
        let component = Component::new(name, version, config, Arc::clone(recipe.meters()));
        Ok((name.clone(), Arc::new(component)))
    });
    Ok(try_join_all(versions).await?.into_iter().collect())
}

fn serve(
    config: &Config,
    manifest: Manifest,
    components: Components,
    loader: Loader,
    listener: TcpListener,
    service_listeners: Vec<(String, TcpListener)>,
) -> Result<Host, StartError> {
    let server = Server {
        limits: config.limits.clone(),
        drain: CancellationToken::new(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    let address = local_address(&listener, config.listen)?;
    let mut service_addresses = HashMap::new();
    for ((name, listener), (_, asked)) in service_listeners.into_iter().zip(&config.service_addresses) {
        service_addresses.insert(name.clone(), local_address(&listener, *asked)?);
        if let Some(component) = components.get(&name) {
            server.serve(listener, Target::One(Arc::clone(component)));
        }
    }
    server.serve(listener, Target::Routes(routes(config, manifest, &components)?));
    Ok(Host {
        address,
        service_addresses,
        server,
        components,
        loader,
        canaries: config.canaries.clone(),
        swapping: tokio::sync::Mutex::default(),
    })
}

fn local_address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Listen {
        address: asked,
        reason: error.to_string(),
    })
}

fn routes(config: &Config, manifest: Manifest, components: &Components) -> Result<Routes, StartError> {
    let router = Router::new(manifest.routes);
    let mut targets = Vec::new();
    for route in router.routes() {
        let target = components
            .get(route.component())
            .cloned()
            .zip(RouteHeaders::of(route));
        targets.push(target.ok_or_else(|| StartError::Manifest {
            path: config.manifest.clone(),
            reason: format!("route \"{}\" cannot be served", route.raw()),
        })?);
    }
    Ok(Routes { router, targets })
}
