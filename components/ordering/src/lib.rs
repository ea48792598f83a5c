//! Ordering: takes orders and orchestrates their saga. This file wires the layers and does nothing else.

pub mod api;
pub mod application;
pub mod domain;
pub mod infrastructure;

use event_batch::SigningKey;
use service::config::{ConfigError, parsed_variable, variable};
use service::router::{Component, Root, serve};
use service::{Bearer, Database, Router};
use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use std::cell::OnceCell;
use std::num::NonZeroU32;
use std::time::Duration;

/// The composition root.
pub struct Ordering {
    pub(crate) bearer: Bearer,
    pub(crate) database: Database,
    pub(crate) events_key: SigningKey,
    /// How long the shop waits for an order's payment.
    pub(crate) payment_deadline: Duration,
    router: Router<Self>,
}

impl Component for Ordering {
    async fn compose() -> Result<Self, ConfigError> {
        let deadline_seconds: NonZeroU32 = parsed_variable("payment_deadline_seconds").await?;
        Ok(Self {
            bearer: Bearer::new(&variable("jwt_verification_keys").await?)?,
            database: Database::new(variable("database_url").await?),
            events_key: service::events::signing_key().await?,
            payment_deadline: Duration::from_secs(deadline_seconds.get().into()),
            router: api::router(),
        })
    }

    fn router(&self) -> &Router<Self> {
        &self.router
    }
}

thread_local! {
    static ROOT: OnceCell<&'static Ordering> = const { OnceCell::new() };
}

/// Answers one request.
// Natively the attribute would break every link, and there is no host to call this.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let root: &'static Root<Ordering> = &ROOT;
    serve(root, request).await
}
