//! Catalog: the flowers, bouquets and categories of the shop. This file wires the layers and does nothing else.

pub mod api;
pub mod application;
pub mod domain;
pub mod infrastructure;

use event_batch::SigningKey;
use infrastructure::RedisCache;
use service::config::{ConfigError, variable};
use service::router::{Component, Root, serve};
use service::{Bearer, Database, Router};
use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use std::cell::OnceCell;

/// The composition root.
pub struct Catalog {
    pub(crate) bearer: Bearer,
    pub(crate) database: Database,
    pub(crate) cache: RedisCache,
    pub(crate) events_key: SigningKey,
    router: Router<Self>,
}

impl Component for Catalog {
    async fn compose() -> Result<Self, ConfigError> {
        Ok(Self {
            bearer: Bearer::new(&variable("jwt_verification_keys").await?)?,
            database: Database::new(variable("database_url").await?),
            cache: RedisCache::connect(&service::redis::address().await?),
            events_key: service::events::signing_key().await?,
            router: api::router(),
        })
    }

    fn router(&self) -> &Router<Self> {
        &self.router
    }
}

thread_local! {
    static ROOT: OnceCell<&'static Catalog> = const { OnceCell::new() };
}

/// Answers one request.
// Natively the attribute would break every link, and there is no host to call this.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let root: &'static Root<Catalog> = &ROOT;
    serve(root, request).await
}
