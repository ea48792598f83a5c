//! Auth: who the shop's users are, and the access tokens that the other services believe. This file wires the
//! layers and does nothing else.

pub mod api;
pub mod application;
pub mod domain;
pub mod infrastructure;

use infrastructure::{Bcrypt, Jwt};
use service::config::{ConfigError, parsed_variable, variable};
use service::router::{Component, Root, serve};
use service::{Bearer, Database, Router};
use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use std::cell::OnceCell;

/// The composition root.
pub struct Auth {
    pub(crate) bearer: Bearer,
    pub(crate) tokens: Jwt,
    pub(crate) hasher: Bcrypt,
    pub(crate) database: Database,
    router: Router<Self>,
}

impl Component for Auth {
    async fn compose() -> Result<Self, ConfigError> {
        let key = variable("jwt_key").await?;
        Ok(Self {
            bearer: Bearer::new(&key)?,
            tokens: Jwt::new(&key, parsed_variable("jwt_ttl_seconds").await?)?,
            hasher: Bcrypt::new(parsed_variable("bcrypt_cost").await?)?,
            database: Database::new(variable("database_url").await?),
            router: api::router(),
        })
    }

    fn router(&self) -> &Router<Self> {
        &self.router
    }
}

thread_local! {
    static ROOT: OnceCell<&'static Auth> = const { OnceCell::new() };
}

/// Answers one request.
// Natively the attribute would break every link, and there is no host to call this.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let root: &'static Root<Auth> = &ROOT;
    serve(root, request).await
}
