//! The gateway: the shop's one public door. It finds the service that a path belongs to, passes the request on and
//! the answer back, and shows how every service is doing. This file wires the layers and does nothing else.

pub mod api;
pub mod application;
pub mod domain;
pub mod infrastructure;

use infrastructure::Chain;
use service::config::ConfigError;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};
use std::cell::OnceCell;

/// The composition root.
pub struct Gateway {
    pub(crate) chain: Chain,
}

impl Gateway {
    async fn compose() -> Result<Self, ConfigError> {
        Ok(Self {
            chain: Chain::from_variables().await?,
        })
    }
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
