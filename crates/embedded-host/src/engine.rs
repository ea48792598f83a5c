//! wasmtime, set up once: pooled memory for as many instances as all components may have together, compiled code
//! kept between starts, and the clock that interrupts busy guests.

use std::path::Path;
use std::time::Duration;

use wasmtime::component::{Component as Wasm, Linker};
use wasmtime::{
    Cache, CacheConfig, Config as EngineConfig, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::compose::compose;
use crate::dependencies::Dependency;
use crate::error::StartError;
use crate::identity::{self, Digest, Identity};
use crate::imports::{self, Guest};

/// A busy guest gives way to others this often.
const TICK: Duration = Duration::from_millis(10);
/// Instances beyond the sum of the components' bounds: one that is being dropped still counts for a moment.
const HEADROOM: u32 = 16;
/// What an instance is made of, at most, for the component itself and for each dependency that is composed into it:
/// a module, and the small ones that join it to its imports.
const CORE_INSTANCES_PER_PART: u32 = 16;
pub(crate) const MEMORIES_PER_PART: u32 = 2;
const TABLES_PER_PART: u32 = 4;

/// What the pools must hold.
pub(crate) struct Totals {
    pub(crate) instances: u32,
    /// Components and dependencies in all those instances together.
    pub(crate) parts: u32,
    /// Components and dependencies in one instance, at most.
    pub(crate) parts_per_instance: u32,
    /// Requests that one instance works on: each may need a stack.
    pub(crate) requests_per_instance: u32,
    pub(crate) max_instance_bytes: usize,
}

pub(crate) fn start(totals: &Totals, cache_dir: Option<&Path>) -> Result<Engine, StartError> {
    let failed = |error: wasmtime::Error| StartError::Engine(one_line(&error));
    let mut config = EngineConfig::new();
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        // A core for each component: at the start they are compiled side by side, and later a swap's own thread, which
        // gives way to those who are served, does all of the work.
        .parallel_compilation(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(totals)));
    if let Some(folder) = cache_dir {
        // The cache wants an absolute folder.
        let folder = std::path::absolute(folder).map_err(|error| StartError::Unreadable {
            path: folder.to_owned(),
            reason: error.to_string(),
        })?;
        let mut cache = CacheConfig::new();
        cache.with_directory(folder);
        config.cache(Some(Cache::new(cache).map_err(failed)?));
    }
    let engine = Engine::new(&config).map_err(failed)?;
    start_clock(&engine)?;
    Ok(engine)
}

fn pooling(totals: &Totals) -> PoolingAllocationConfig {
    let largest = totals.parts_per_instance;
    let instances = totals.instances.saturating_add(HEADROOM);
    let parts = totals.parts.saturating_add(HEADROOM.saturating_mul(largest));
    let mut pooling = PoolingAllocationConfig::default();
    pooling
        .total_component_instances(instances)
        .total_core_instances(parts.saturating_mul(CORE_INSTANCES_PER_PART))
        .max_core_instances_per_component(largest.saturating_mul(CORE_INSTANCES_PER_PART))
        .total_memories(parts.saturating_mul(MEMORIES_PER_PART))
        .max_memories_per_component(largest.saturating_mul(MEMORIES_PER_PART))
        .max_memory_size(totals.max_instance_bytes)
        .total_tables(parts.saturating_mul(TABLES_PER_PART))
        .max_tables_per_component(largest.saturating_mul(TABLES_PER_PART))
        .total_stacks(parts.saturating_mul(totals.requests_per_instance.saturating_add(1)));
    pooling
}

/// A thread, not a task: busy guests may occupy every worker of the runtime. It ends with the engine.
fn start_clock(engine: &Engine) -> Result<(), StartError> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("epoch-clock".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .map(|_| ())
        .map_err(|error| StartError::Engine(error.to_string()))
}

/// What a component's files hold.
pub(crate) struct Code {
    pub(crate) identity: Identity,
    bytes: Vec<u8>,
}

/// Reads a component, with its dependencies composed into it. Blocks.
pub(crate) fn read(name: &str, source: &Path, dependencies: &[Dependency]) -> Result<Code, StartError> {
    let failed = |reason: String| StartError::Component {
        component: name.to_owned(),
        reason,
    };
    let bytes = std::fs::read(source)
        .map_err(|error| failed(format!("cannot read {}: {error}", source.display())))?;
    let number = identity::number(&bytes);
    let bytes = compose(name, bytes, dependencies).map_err(failed)?;
    let digest = Digest::of(&bytes);
    Ok(Code {
        identity: Identity { digest, number },
        bytes,
    })
}

/// Compiles a component, or takes it from the cache, and checks that everything it imports is there. Blocks.
pub(crate) fn compile(
    engine: &Engine,
    name: &str,
    source: &Path,
    code: &Code,
) -> Result<ServicePre<Guest>, StartError> {
    let refused = |error: wasmtime::Error| StartError::Component {
        component: name.to_owned(),
        reason: format!("{}: {}", source.display(), one_line(&error)),
    };
    let wasm = Wasm::new(engine, &code.bytes).map_err(refused)?;
    let mut linker = Linker::new(engine);
    imports::link(&mut linker).map_err(refused)?;
    let instance = linker.instantiate_pre(&wasm).map_err(refused)?;
    ServicePre::new(instance).map_err(refused)
}

/// What went wrong, and why, as a line of a log has it.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
