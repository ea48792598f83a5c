//! A session: what a sign-in gives, and what becomes of it when one of its refresh tokens is presented.
//!
//! Each refresh token is exchanged once, for the next. A token that comes again was copied, by a thief or from one: the
//! session ends, for nobody can tell which of the two is the owner. One repetition is harmless, that of a client whose
//! answer was lost: the token that was exchanged last, a moment ago, while nobody has used what it was exchanged for.
//! It is exchanged for one more of the same generation; the first of them to be used decides which one lives.

use contracts::{Timestamp, UserId};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// How long the token that was exchanged last may come again.
const GRACE: Duration = Duration::from_secs(10);

/// What the shop's refresh tokens begin with, so that a scanner of leaked secrets knows one.
const PREFIX: &str = "flowershop_refresh_";

/// A refresh token: opaque, and only its owner has it.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(String);

impl RefreshToken {
    /// A new one of 256 random bits, which `encoded` has in base64.
    #[must_use]
    pub fn of_random(encoded: &str) -> Self {
        Self(format!("{PREFIX}{encoded}"))
    }

    /// What somebody says is one.
    #[must_use]
    pub fn presented(text: String) -> Self {
        Self(text)
    }

    /// What is kept of it. It is random enough for a hash that takes no time.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(&self.0).to_vec())
    }

    /// The token itself, for its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RefreshToken(…)")
    }
}

/// A refresh token's SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHash(pub Vec<u8>);

/// A token's exchange for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub token: TokenHash,
    pub at: Timestamp,
}

/// A sign-in, for as long as it can be refreshed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: Uuid,
    pub user_id: UserId,
    /// Of its newest token.
    pub generation: i64,
    /// The exchange that gave that one.
    pub exchanged: Option<Exchange>,
    /// However often it is refreshed.
    pub expires_at: Timestamp,
    /// It was revoked, or all sessions of its user were.
    pub is_revoked: bool,
}

/// What presenting a token comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The session afterwards, whose generation the new token is of.
    Exchanged(Session),
    /// It was exchanged before: whoever has it now is not alone.
    Reused,
    /// The session has ended.
    Ended,
}

impl Session {
    /// A session that begins now.
    #[must_use]
    pub fn begin(user_id: UserId, now: Timestamp, ttl: Duration) -> Self {
        Self {
            id: Uuid::now_v7(),
            user_id,
            generation: 0,
            exchanged: None,
            expires_at: now.plus(ttl),
            is_revoked: false,
        }
    }

    /// What becomes of the session when its token of this generation is presented.
    #[must_use]
    pub fn present(&self, token: &TokenHash, generation: i64, now: Timestamp) -> Presented {
        if self.is_revoked || now >= self.expires_at {
            return Presented::Ended;
        }
        if generation == self.generation {
            return Presented::Exchanged(Self {
                generation: generation + 1,
                exchanged: Some(Exchange {
                    token: token.clone(),
                    at: now,
                }),
                ..self.clone()
            });
        }
        let again = self
            .exchanged
            .as_ref()
            .is_some_and(|last| last.token == *token && now <= last.at.plus(GRACE));
        if again {
            Presented::Exchanged(self.clone())
        } else {
            Presented::Reused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        let start: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        start.plus(Duration::from_secs(seconds))
    }

    fn token(name: &str) -> TokenHash {
        RefreshToken::presented(name.to_owned()).hash()
    }

    fn session() -> Session {
        Session::begin(UserId::new(), at(0), Duration::from_secs(1000))
    }

    fn exchanged(session: &Session, name: &str, generation: i64, seconds: u64) -> Session {
        match session.present(&token(name), generation, at(seconds)) {
            Presented::Exchanged(session) => session,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_token_is_exchanged_for_the_next_until_the_session_expires() {
        let first = exchanged(&session(), "a", 0, 10);
        assert_eq!(first.generation, 1);
        let second = exchanged(&first, "b", 1, 999);
        assert_eq!(second.generation, 2);
        // However often it was refreshed.
        assert_eq!(second.present(&token("c"), 2, at(1000)), Presented::Ended);
    }

    #[test]
    fn the_token_just_exchanged_may_come_again_for_ten_seconds() {
        let first = exchanged(&session(), "a", 0, 10);
        for seconds in [10, 20] {
            assert_eq!(exchanged(&first, "a", 0, seconds), first);
        }
        assert_eq!(first.present(&token("a"), 0, at(21)), Presented::Reused);
    }

    #[test]
    fn once_its_successor_is_used_a_token_that_comes_again_is_reuse() {
        let first = exchanged(&session(), "a", 0, 10);
        let second = exchanged(&first, "b", 1, 11);
        assert_eq!(second.present(&token("a"), 0, at(12)), Presented::Reused);
    }

    #[test]
    fn of_two_successors_the_first_that_is_used_lives() {
        // `a` was exchanged twice, for `b` and for `c`.
        let first = exchanged(&session(), "a", 0, 10);
        let second = exchanged(&first, "b", 1, 11);
        assert_eq!(second.present(&token("c"), 1, at(12)), Presented::Reused);
        assert_eq!(exchanged(&second, "b", 1, 12), second);
    }

    #[test]
    fn of_a_revoked_session_no_token_holds() {
        let revoked = Session {
            is_revoked: true,
            ..session()
        };
        assert_eq!(revoked.present(&token("a"), 0, at(1)), Presented::Ended);
    }

    #[test]
    fn a_refresh_token_is_not_shown_and_says_whose_it_is() {
        let token = RefreshToken::of_random("c2VjcmV0");
        assert_eq!(token.expose(), "flowershop_refresh_c2VjcmV0");
        assert!(!format!("{token:?}").contains("c2VjcmV0"));
    }
}
