//! Signs access tokens. What they claim is `service::token`'s, so that signing and checking cannot differ.

use crate::application::{AccessToken, Fault, TokenIssuer};
use crate::domain::User;
use contracts::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use service::config::ConfigError;
use service::token::{AUDIENCE, Claims, ISSUER, MIN_KEY_BYTES, install_cryptography};
use uuid::Uuid;

/// Signs with the key that all services share.
pub struct Jwt {
    key: EncodingKey,
    ttl_seconds: u32,
}

impl Jwt {
    /// Tokens end `ttl_seconds` after they were issued.
    ///
    /// # Errors
    /// If the key is shorter than 32 bytes, or no token would ever hold.
    pub fn new(key: &str, ttl_seconds: u32) -> Result<Self, ConfigError> {
        if key.len() < MIN_KEY_BYTES {
            return Err(ConfigError {
                name: "jwt_key",
                reason: "is shorter than 32 bytes",
            });
        }
        if ttl_seconds == 0 {
            return Err(ConfigError {
                name: "jwt_ttl_seconds",
                reason: "is not at least 1",
            });
        }
        install_cryptography();
        Ok(Self {
            key: EncodingKey::from_secret(key.as_bytes()),
            ttl_seconds,
        })
    }
}

impl TokenIssuer for Jwt {
    fn issue(&self, user: &User, now: Timestamp) -> Result<AccessToken, Fault> {
        let issued_at = u64::try_from(now.naive().and_utc().timestamp())
            .map_err(|_| Fault("the clock stands before 1970".to_owned()))?;
        let claims = Claims {
            sub: user.id,
            user_id: user.id,
            email: user.email.as_str().to_owned(),
            role: user.role,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat: issued_at,
            exp: issued_at + u64::from(self.ttl_seconds),
            jti: Uuid::now_v7().to_string(),
        };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .map_err(|error| Fault(error.to_string()))?;
        Ok(AccessToken {
            text,
            ttl_seconds: self.ttl_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    const KEY: &str = "a key of at least thirty-two bytes";

    #[test]
    fn a_token_claims_who_its_user_is_and_ends_in_time() {
        let email = "Rose@example.com".to_owned().try_into().unwrap();
        let now = Timestamp::now();
        let user = User::registered(email, None, now);
        let token = Jwt::new(KEY, 1800).unwrap().issue(&user, now).unwrap();
        assert_eq!(token.ttl_seconds, 1800);

        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        let key = DecodingKey::from_secret(KEY.as_bytes());
        let claims = jsonwebtoken::decode::<Claims>(&token.text, &key, &validation)
            .unwrap()
            .claims;
        assert_eq!((claims.sub, claims.user_id), (user.id, user.id));
        assert_eq!(claims.email, "Rose@example.com");
        assert_eq!(claims.role, user.role);
        assert_eq!(claims.exp - claims.iat, 1800);
        assert!(Uuid::parse_str(&claims.jti).is_ok());
    }

    #[test]
    fn a_short_key_and_tokens_that_never_hold_are_refused() {
        assert!(Jwt::new("short", 1800).is_err());
        assert!(Jwt::new(KEY, 0).is_err());
    }
}
