//! Auth: who the shop's users are, and the access tokens that the other services believe. This file wires the
//! layers and does nothing else.

pub mod api;
pub mod application;
pub mod domain;
pub mod infrastructure;

use infrastructure::{Bcrypt, Jwt};
use service::config::{ConfigError, parsed_variable, variable};
use service::keys::{SigningKey, VerificationKeys};
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
    /// Whether nobody but the gateway gets here over a network.
    pub(crate) gateway_only: bool,
    router: Router<Self>,
}

impl Component for Auth {
    async fn compose() -> Result<Self, ConfigError> {
        let signing_key = SigningKey::parse(&variable("jwt_signing_key").await?)?;
        let verification_keys = VerificationKeys::parse(&variable("jwt_verification_keys").await?)?;
        if !verification_keys.include(&signing_key) {
            return Err(ConfigError {
                name: "jwt_signing_key",
                reason: "has no counterpart among jwt_verification_keys",
            });
        }
        let ttl_seconds = parsed_variable("jwt_ttl_seconds").await?;
        let session_ttl_seconds = parsed_variable("refresh_ttl_seconds").await?;
        Ok(Self {
            bearer: Bearer::of(verification_keys),
            tokens: Jwt::new(signing_key, ttl_seconds, session_ttl_seconds)?,
            hasher: Bcrypt::new(parsed_variable("bcrypt_cost").await?)?,
            database: Database::new(variable("database_url").await?),
            gateway_only: parsed_variable("gateway_only").await?,
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
