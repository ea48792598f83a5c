//! What a component imports and this host gives it: Spin's interfaces, in modules of their own, and WASI from
//! wasmtime's crates. An import that is none of these keeps the component from being loaded.

pub(crate) mod http;
pub(crate) mod output;
pub(crate) mod postgres;
pub(crate) mod redis;
mod variables;

use std::collections::HashMap;
use std::sync::Arc;

use spans::Context;
use wasmtime::component::{GuestTaskId, HasSelf, Linker, ResourceTable};
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::grants::Grants;

pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/host",
        world: "flower-shop:host/imports",
        imports: { default: trappable },
        with: {
            "spin:postgres/postgres.connection": super::postgres::Connection,
            "spin:postgres/postgres.connection-builder": super::postgres::ConnectionBuilder,
            "spin:redis/redis.connection": super::redis::Connection,
        },
    });
}

/// What all instances of one component share.
pub(crate) struct Surroundings {
    /// The component's name in the manifest.
    pub(crate) component: Arc<str>,
    /// Its variables, templates filled in. They may be secrets.
    pub(crate) variables: HashMap<String, String>,
    pub(crate) grants: Grants,
    pub(crate) postgres: postgres::Pools,
    pub(crate) http: http::Client,
    /// Bytes of memory of one instance, and of each dependency in it.
    pub(crate) max_memory: usize,
    pub(crate) max_memories: u32,
}

/// What one instance has for itself: the data of its store.
pub(crate) struct Guest {
    pub(crate) surroundings: Arc<Surroundings>,
    pub(crate) table: ResourceTable,
    pub(crate) limits: StoreLimits,
    /// The requests being worked on whose traces are recorded.
    pub(crate) traced: HashMap<GuestTaskId, Context>,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: http::Outgoing,
}

impl Guest {
    /// No environment, no arguments, no files, no sockets; output goes to the process' stderr, line by line.
    pub(crate) fn new(surroundings: &Arc<Surroundings>) -> Guest {
        let wasi = WasiCtx::builder()
            .stdout(output::Lines::of(&surroundings.component))
            .stderr(output::Lines::of(&surroundings.component))
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        Guest {
            surroundings: Arc::clone(surroundings),
            table: ResourceTable::new(),
            traced: HashMap::new(),
            limits: StoreLimitsBuilder::new()
                .memory_size(surroundings.max_memory)
                .memories(surroundings.max_memories as usize)
                .build(),
            wasi,
            http: WasiHttpCtx::new(),
            outgoing: http::Outgoing::new(Arc::clone(surroundings)),
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outgoing,
        }
    }
}

/// Everything that components may import.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    bindings::Imports::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}
