//! From a configuration to a running host: everything that can fail does so here, before the first request.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

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
use crate::lane::Lanes;
use crate::manifest::{ComponentEntry, Manifest};
use crate::meters::{self, Meters};
use crate::pool::{Pool, RESERVED_INSTANCES};
use crate::routes::Router;
use crate::server::{Routes, Server, Target};
use crate::variables::Variables;

type Components = HashMap<String, Arc<Component>>;

pub(crate) async fn start(config: Config) -> Result<Host, StartError> {
    let manifest = Manifest::read(&config.manifest)?;
    check_services(&config, &manifest)?;
    let variables = Variables::resolve(&manifest.variables, &config.variables, &config.environment)?;
    variables.refuse(&manifest.variables, &config.known_secrets)?;
    let client = Client::new(Neighbours::default());
    let surroundings = surround(&config, &manifest, &variables, &client)?;
    drop(variables);

    // Before the components are compiled: a taken port is found out at once.
    let listener = listen(config.listen).await?;
    let mut service_listeners = Vec::new();
    for (name, address) in &config.service_addresses {
        service_listeners.push((name.clone(), listen(*address).await?));
    }

    meters::describe();
    let engine = start_engine(&config, &manifest)?;
    let components = load(&config, &engine, &manifest, surroundings).await?;
    client.introduce(&components);
    serve(&config, manifest, components, listener, service_listeners)
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
    Ok(())
}

/// What each component gets, and what counts what it does, by its name.
type Surrounded = HashMap<String, (Arc<Surroundings>, Arc<Meters>)>;

/// What each component gets, its templates filled in.
fn surround(
    config: &Config,
    manifest: &Manifest,
    variables: &Variables,
    client: &Client,
) -> Result<Surrounded, StartError> {
    let mut all = HashMap::new();
    for (name, entry) in &manifest.components {
        let meters = Arc::new(Meters::of(name));
        let surroundings =
            surround_one(config, name, entry, variables, client, &meters).map_err(|reason| {
                StartError::Component {
                    component: name.clone(),
                    reason,
                }
            })?;
        all.insert(name.clone(), (Arc::new(surroundings), meters));
    }
    Ok(all)
}

fn surround_one(
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
    let each = config.limits.instances_per_component.max(1);
    let each = each.saturating_add(RESERVED_INSTANCES);
    let totals = Totals {
        instances: each.saturating_mul(components),
        parts: each.saturating_mul(parts.clone().fold(0, u32::saturating_add)),
        parts_per_instance: parts.max().unwrap_or(1),
        requests_per_instance: u32::try_from(config.reuse.max_concurrent_requests).unwrap_or(u32::MAX),
        max_instance_bytes: config.limits.max_instance_bytes,
    };
    engine::start(&totals, config.cache_dir.as_deref())
}

/// Compiles all components side by side.
async fn load(
    config: &Config,
    engine: &Engine,
    manifest: &Manifest,
    surroundings: HashMap<String, (Arc<Surroundings>, Arc<Meters>)>,
) -> Result<Components, StartError> {
    let mut loading = Vec::new();
    for (name, (surroundings, meters)) in surroundings {
        let Some(entry) = manifest.components.get(&name) else {
            continue;
        };
        let (engine, source): (Engine, PathBuf) = (engine.clone(), entry.source.clone());
        let dependencies = entry.dependencies.clone();
        let task = tokio::task::spawn_blocking({
            let name = name.clone();
            move || engine::load(&engine, &name, &source, &dependencies)
        });
        loading.push((name, surroundings, meters, task));
    }
    let lanes = Lanes::new();
    let mut components = Components::new();
    for (name, surroundings, meters, task) in loading {
        let wasm = task.await.map_err(|error| StartError::Component {
            component: name.clone(),
            reason: format!("loading it failed: {error}"),
        })??;
        let title = Arc::clone(&surroundings.component);
        let pool = Pool::new(wasm, surroundings, lanes.clone(), config, Arc::clone(&meters));
        let component = Component::new(title, pool, config, meters);
        components.insert(name, Arc::new(component));
    }
    Ok(components)
}

fn serve(
    config: &Config,
    manifest: Manifest,
    components: Components,
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
        _components: components,
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
