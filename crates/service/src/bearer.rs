//! Who is asking: the bearer token of a request (RFC 6750), checked here with the shop's keys and without I/O.

use crate::config::ConfigError;
use crate::keys::VerificationKeys;
use crate::problem::Problem;
use crate::request::Request;
use crate::token::Claims;
use contracts::UserId;
use http::header;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Courier,
    Admin,
}

impl Role {
    /// The spelling in tokens, answers and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Courier => "courier",
            Self::Admin => "admin",
        }
    }
}

/// A word that is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of user, courier, admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        [Self::User, Self::Courier, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or(UnknownRole)
    }
}

/// The value of `WWW-Authenticate` for who sent no token (RFC 6750, section 3).
pub const CHALLENGE: &str = "Bearer realm=\"flower-shop\"";

/// 401 for a token that does not hold, or whose user is no more.
#[must_use]
pub fn refused() -> Problem {
    let challenge = "Bearer realm=\"flower-shop\", error=\"invalid_token\"";
    Problem::unauthorized(challenge, "The bearer token does not hold, or no longer.")
}

/// A signed-in user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user_id: UserId,
    pub role: Role,
}

impl Caller {
    /// Admits these roles.
    ///
    /// # Errors
    /// 403 for every other.
    pub fn require(self, roles: &[Role]) -> Result<Self, Problem> {
        if roles.contains(&self.role) {
            Ok(self)
        } else {
            Err(Problem::forbidden())
        }
    }

    /// Whether this is `owner`, or an admin, who sees everything.
    #[must_use]
    pub fn may_see(self, owner: UserId) -> bool {
        self.user_id == owner || self.role == Role::Admin
    }

    /// Whose objects this caller sees: `None` is everyone's.
    #[must_use]
    pub fn scope(self) -> Option<UserId> {
        (self.role != Role::Admin).then_some(self.user_id)
    }
}

/// Checks bearer tokens.
pub struct Bearer(VerificationKeys);

impl Bearer {
    /// Takes the variable `jwt_verification_keys`.
    ///
    /// # Errors
    /// If it holds no key, or what is none.
    pub fn new(keys: &str) -> Result<Self, ConfigError> {
        VerificationKeys::parse(keys).map(Self)
    }

    /// Believes what these keys verify.
    #[must_use]
    pub fn of(keys: VerificationKeys) -> Self {
        Self(keys)
    }

    /// Who sends this request.
    ///
    /// # Errors
    /// 401 without a token, or with one that does not hold.
    pub fn caller(&self, request: &Request) -> Result<Caller, Problem> {
        let claims = self.claims(request.header(header::AUTHORIZATION))?;
        Ok(Caller {
            user_id: claims.user_id,
            role: claims.role,
        })
    }

    /// The user whose token an `Authorization` field holds, if it is one that holds.
    #[must_use]
    pub fn user(&self, authorization: &str) -> Option<UserId> {
        self.claims(Some(authorization)).ok().map(|claims| claims.user_id)
    }

    fn claims(&self, authorization: Option<&str>) -> Result<Claims, Problem> {
        let token = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(token) = token else {
            return Err(Problem::unauthorized(CHALLENGE, "This needs a bearer token."));
        };
        self.0
            .claims(token)
            .filter(|claims| claims.sub == claims.user_id)
            .ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use crate::token::somebodys_claims as claims;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::json;

    const KEY: &str = "a-key-of-at-least-thirty-two-bytes";

    fn signed(claims: &Claims, key: &str) -> String {
        SigningKey::parse(key).unwrap().sign(claims).unwrap()
    }

    fn accepts(token: &str) -> bool {
        Bearer::new(KEY)
            .unwrap()
            .claims(Some(&format!("Bearer {token}")))
            .is_ok()
    }

    #[test]
    fn a_token_of_ours_is_taken() {
        assert!(accepts(&signed(&claims(), KEY)));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let mine = claims();
        let expired = Claims {
            exp: mine.iat - 1,
            ..mine.clone()
        };
        let audience = Claims {
            aud: "elsewhere".to_owned(),
            ..mine.clone()
        };
        let issuer = Claims {
            iss: "elsewhere".to_owned(),
            ..mine.clone()
        };
        let somebody = Claims {
            user_id: UserId::new(),
            ..mine.clone()
        };
        for claims in [expired, audience, issuer, somebody] {
            assert!(!accepts(&signed(&claims, KEY)), "{claims:?}");
        }
        assert!(!accepts(&signed(
            &mine,
            "another-key-of-thirty-two-or-more-bytes"
        )));

        let good = signed(&mine, KEY);
        let parts: Vec<&str> = good.split('.').collect();
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        let none = encode(json!({"alg": "none", "typ": "JWT", "kid": header["kid"]}));
        let admin = encode(
            serde_json::to_value(Claims {
                role: Role::Admin,
                ..mine
            })
            .unwrap(),
        );
        let header = parts[0];
        for forged in [
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{header}.{admin}.{}", parts[2]),
            format!("{header}.{}.", parts[1]),
            String::new(),
        ] {
            assert!(!accepts(&forged), "{forged}");
        }
    }

    #[test]
    fn a_request_without_a_bearer_token_is_refused() {
        let bearer = Bearer::new(KEY).unwrap();
        for authorization in [None, Some(""), Some("Basic dTpw"), Some("Bearer")] {
            assert!(bearer.claims(authorization).is_err(), "{authorization:?}");
        }
    }

    #[test]
    fn a_key_of_less_than_32_bytes_is_refused() {
        assert!(Bearer::new("short").is_err());
    }

    proptest! {
        #[test]
        fn no_header_does_harm_or_lets_anybody_in(
            authorization in prop_oneof![
                ".{0,80}",
                "[Bb]earer [A-Za-z0-9_=-]{0,40}\\.[A-Za-z0-9_=-]{0,40}\\.[A-Za-z0-9_=-]{0,50}",
                // A good header and any claims, without a signature that holds.
                ".{0,60}".prop_map(|claims| format!(
                    "Bearer {}.{}.AAAA",
                    URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
                    URL_SAFE_NO_PAD.encode(claims),
                )),
            ]
        ) {
            prop_assert!(Bearer::new(KEY).unwrap().claims(Some(&authorization)).is_err());
        }

        #[test]
        fn a_token_with_one_letter_changed_is_refused(place in any::<proptest::sample::Index>(), letter in "[A-Za-z0-9_.-]") {
            let good = signed(&claims(), KEY);
            let place = place.index(good.len());
            let mut changed = good.clone();
            changed.replace_range(place..=place, &letter);
            // The last letter of base64 has bits that say nothing.
            prop_assume!(changed != good && place + 1 < good.len());
            prop_assert!(!accepts(&changed), "{changed}");
        }
    }
}
