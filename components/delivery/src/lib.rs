//! Delivery: ships what is paid, and notes what couriers hand over. This file wires the layers and does nothing else.

pub mod api;
pub mod application;
pub mod domain;
pub mod infrastructure;

use domain::{Arrival, Shipping, Terms};
use event_batch::SigningKey;
use service::config::{ConfigError, parsed_variable, variable};
use service::router::{Component, Root, serve};
use service::{Bearer, Database, Router};
use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use std::cell::OnceCell;
use std::time::Duration;

/// The composition root.
pub struct Delivery {
    pub(crate) bearer: Bearer,
    pub(crate) database: Database,
    pub(crate) events_key: SigningKey,
    pub(crate) terms: Terms,
    router: Router<Self>,
}

impl Component for Delivery {
    async fn compose() -> Result<Self, ConfigError> {
        Ok(Self {
            bearer: Bearer::new(&variable("jwt_verification_keys").await?)?,
            database: Database::new(variable("database_url").await?),
            events_key: service::events::signing_key().await?,
            terms: Terms {
                shipping: shipping().await?,
                arrival: arrival().await?,
            },
            router: api::router(),
        })
    }

    fn router(&self) -> &Router<Self> {
        &self.router
    }
}

/// `automatic_shipment` is `true` or `false`, and nothing else: a typing error must not ship what should wait.
async fn shipping() -> Result<Shipping, ConfigError> {
    Ok(match parsed_variable("automatic_shipment").await? {
        true => Shipping::Automatic,
        false => Shipping::OnRequest,
    })
}

/// `automatic_delivery_seconds` is how long a shipment takes to arrive by itself; 0 has a courier say it.
async fn arrival() -> Result<Arrival, ConfigError> {
    Ok(match parsed_variable("automatic_delivery_seconds").await? {
        0_u32 => Arrival::Told,
        seconds => Arrival::After(Duration::from_secs(seconds.into())),
    })
}

thread_local! {
    static ROOT: OnceCell<&'static Delivery> = const { OnceCell::new() };
}

/// Answers one request.
// Natively the attribute would break every link, and there is no host to call this.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let root: &'static Root<Delivery> = &ROOT;
    serve(root, request).await
}
