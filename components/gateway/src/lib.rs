//! The gateway: the shop's one public door. It lets a request through or not, finds the service that its path belongs
//! to, passes the request on and the answer back, and shows how every service is doing. This file wires the layers and
//! does nothing else.

pub mod api;
pub mod application;
pub mod domain;
pub mod infrastructure;

use application::Breakers;
use domain::{Limits, Origins, Retiring, Setting, TraceRatio};
use infrastructure::{Chain, SharedInRedis};
use service::Bearer;
use service::config::{ConfigError, variable};
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};
use std::cell::OnceCell;
use std::str::FromStr;

/// The composition root.
pub struct Gateway {
    pub(crate) chain: Chain,
    /// How many proxies in front of the gateway tell the truth about the client.
    pub(crate) trusted_proxies: usize,
    pub(crate) limits: Limits,
    pub(crate) bearer: Bearer,
    pub(crate) shared: SharedInRedis,
    pub(crate) breakers: Breakers,
    pub(crate) origins: Origins,
    pub(crate) retiring: Retiring,
    pub(crate) trace_ratio: TraceRatio,
}

impl Gateway {
    async fn compose() -> Result<Self, ConfigError> {
        let limit = |name| setting::<Setting>(name, Setting::SPELLING);
        Ok(Self {
            chain: Chain::from_variables().await?,
            trusted_proxies: setting("trusted_proxies", "is no number of proxies").await?,
            limits: Limits {
                requests: limit("limit_address_requests").await?,
                logins: limit("limit_address_logins").await?,
                registrations: limit("limit_address_registrations").await?,
                user_requests: limit("limit_user_requests").await?,
                orders: limit("limit_user_orders").await?,
            },
            bearer: Bearer::new(&variable("jwt_verification_keys").await?)?,
            shared: SharedInRedis::connect(service::redis::address().await?),
            breakers: Breakers::default(),
            origins: setting("cors_origins", Origins::SPELLING).await?,
            retiring: setting("retiring", Retiring::SPELLING).await?,
            trace_ratio: setting("trace_ratio", TraceRatio::SPELLING).await?,
        })
    }
}

/// A variable that is written as `reason` says what it is not.
async fn setting<T: FromStr>(name: &'static str, reason: &'static str) -> Result<T, ConfigError> {
    let value = variable(name).await?;
    value.trim().parse().map_err(|_| ConfigError { name, reason })
}

thread_local! {
    static ROOT: OnceCell<&'static Gateway> = const { OnceCell::new() };
}

/// The instance's gateway, composed at its first request. Leaked once per instance, which is never unloaded before
/// its end.
async fn root() -> Result<&'static Gateway, ConfigError> {
    if let Some(gateway) = ROOT.with(|cell| cell.get().copied()) {
        return Ok(gateway);
    }
    let gateway: &'static Gateway = Box::leak(Box::new(Gateway::compose().await?));
    // Two first requests may both compose; the first to finish is kept.
    Ok(ROOT.with(|cell| *cell.get_or_init(|| gateway)))
}

/// Answers one request.
///
/// The gateway works on `wasi:http`'s own types, unlike the services: so a head is copied once in each direction,
/// and bodies pass from host to host without entering the component.
///
/// # Errors
/// Never: what goes wrong is an answer, too.
pub async fn handle(request: Request) -> Result<Response, ErrorCode> {
    api::handle(root().await, request).await
}

#[cfg(target_family = "wasm")]
mod component {
    struct Component;

    impl spin_sdk::wasip3::exports::http::handler::Guest for Component {
        async fn handle(request: super::Request) -> Result<super::Response, super::ErrorCode> {
            super::handle(request).await
        }
    }

    spin_sdk::wasip3::http::service::export!(Component with_types_in spin_sdk::wasip3);
}
