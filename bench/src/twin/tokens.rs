//! Checks access tokens as the services do, with the same HMAC.

use super::Failure;
use axum::http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use service::Caller;
use service::token::{AUDIENCE, Claims, ISSUER, install_cryptography};

pub(super) struct Tokens {
    key: DecodingKey,
    validation: Validation,
}

impl Tokens {
    pub(super) fn new(key: &str) -> Self {
        install_cryptography();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["sub", "iss", "aud", "exp"]);
        Self {
            key: DecodingKey::from_secret(key.as_bytes()),
            validation,
        }
    }

    /// Who sends a request with these headers.
    ///
    /// # Errors
    /// 401 without a token that holds.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(Failure::Unauthorized)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|_| Failure::Unauthorized)?
            .claims;
        Ok(Caller {
            user_id: claims.user_id,
            role: claims.role,
        })
    }
}
