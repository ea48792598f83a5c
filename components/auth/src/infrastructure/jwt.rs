//! Signs access tokens and draws refresh tokens. What the former claim is `service::token`'s and how they are signed
//! `service::keys`', so that signing and checking cannot differ.

use crate::application::{AccessToken, Fault, TokenIssuer};
use crate::domain::{RefreshToken, User};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::Timestamp;
use service::config::ConfigError;
use service::keys::SigningKey;
use service::token::{AUDIENCE, Claims, ISSUER};
use std::time::Duration;
use uuid::Uuid;

/// Signs with the key that auth alone has.
pub struct Jwt {
    key: SigningKey,
    ttl_seconds: u32,
    session_ttl: Duration,
}

impl Jwt {
    /// Access tokens end `ttl_seconds` after they were issued, and no new one is had `session_ttl_seconds` after the
    /// sign-in.
    ///
    /// # Errors
    /// If none would ever hold.
    pub fn new(key: SigningKey, ttl_seconds: u32, session_ttl_seconds: u32) -> Result<Self, ConfigError> {
        for (name, seconds) in [
            ("jwt_ttl_seconds", ttl_seconds),
            ("refresh_ttl_seconds", session_ttl_seconds),
        ] {
            if seconds == 0 {
                return Err(ConfigError {
                    name,
                    reason: "is not at least 1",
                });
            }
        }
        Ok(Self {
            key,
            ttl_seconds,
            session_ttl: Duration::from_secs(session_ttl_seconds.into()),
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
        let text = self.key.sign(&claims).map_err(|error| Fault(error.to_string()))?;
        Ok(AccessToken {
            text,
            ttl_seconds: self.ttl_seconds,
        })
    }

    fn draw_refresh_token(&self) -> Result<RefreshToken, Fault> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| Fault(error.to_string()))?;
        Ok(RefreshToken::of_random(&URL_SAFE_NO_PAD.encode(secret)))
    }

    fn session_ttl(&self) -> Duration {
        self.session_ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::keys::VerificationKeys;

    const KEY: &str = "a-key-of-at-least-thirty-two-bytes";

    fn jwt(ttl_seconds: u32, session_ttl_seconds: u32) -> Result<Jwt, ConfigError> {
        Jwt::new(SigningKey::parse(KEY)?, ttl_seconds, session_ttl_seconds)
    }

    #[test]
    fn a_token_claims_who_its_user_is_and_ends_in_time() {
        let email = "Rose@example.com".to_owned().try_into().unwrap();
        let now = Timestamp::now();
        let user = User::registered(email, None, now);
        let token = jwt(1800, 3600).unwrap().issue(&user, now).unwrap();
        assert_eq!(token.ttl_seconds, 1800);

        let claims = VerificationKeys::parse(KEY).unwrap().claims(&token.text).unwrap();
        assert_eq!((claims.sub, claims.user_id), (user.id, user.id));
        assert_eq!(claims.email, "Rose@example.com");
        assert_eq!(claims.role, user.role);
        assert_eq!(claims.exp - claims.iat, 1800);
        assert!(Uuid::parse_str(&claims.jti).is_ok());
    }

    #[test]
    fn refresh_tokens_are_long_and_none_is_drawn_twice() {
        let jwt = jwt(1800, 3600).unwrap();
        let (one, other) = (
            jwt.draw_refresh_token().unwrap(),
            jwt.draw_refresh_token().unwrap(),
        );
        assert_ne!(one, other);
        let secret = one.expose().strip_prefix("flowershop_refresh_").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(secret).unwrap().len(), 32);
    }

    #[test]
    fn tokens_that_never_hold_are_refused() {
        assert_eq!(jwt(0, 1).err().unwrap().name, "jwt_ttl_seconds");
        assert_eq!(jwt(1, 0).err().unwrap().name, "refresh_ttl_seconds");
    }
}
