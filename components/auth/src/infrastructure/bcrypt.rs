//! Passwords by bcrypt, over a digest of theirs: bcrypt itself ends at the 72nd byte and at a NUL.

use crate::application::{Fault, PasswordHasher};
use crate::domain::{Password, PasswordHash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use service::config::ConfigError;
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

/// Sets our digests apart from every other SHA-256 of the same password, so that those leaked elsewhere are of no
/// use against ours. Part of every hash that is kept: it can never change.
const CONTEXT: &[u8] = b"flower-shop password 1\0";

/// Salt and digest of a hash that no password is known to have: zeros, in bcrypt's own base64.
const NOBODYS: &str = ".....................................................";

/// Hashes with a work factor of 2^cost.
pub struct Bcrypt {
    cost: u32,
}

impl Bcrypt {
    /// `cost` is bcrypt's own: 12 takes about 0.4 s in a component, and each step more doubles it.
    ///
    /// # Errors
    /// If `cost` is not between 4 and 31.
    pub fn new(cost: u32) -> Result<Self, ConfigError> {
        if !(4..=31).contains(&cost) {
            return Err(ConfigError {
                name: "bcrypt_cost",
                reason: "is not between 4 and 31",
            });
        }
        Ok(Self { cost })
    }
}

/// A hash of this cost that no password is known to have.
fn nobodys(cost: u32) -> String {
    format!("$2b${cost:02}${NOBODYS}")
}

/// The cost of a hash; `None` if it is no hash of bcrypt's.
fn cost_of(hash: &PasswordHash) -> Option<u32> {
    let parts: ::bcrypt::HashParts = hash.as_str().parse().ok()?;
    Some(parts.get_cost())
}

impl PasswordHasher for Bcrypt {
    fn hash(&self, password: &Password) -> Result<PasswordHash, Fault> {
        let _alone = Alone::begin();
        ::bcrypt::non_truncating_hash(digest(password), self.cost)
            .map(PasswordHash::from)
            .map_err(|error| Fault(error.to_string()))
    }

    fn verify(&self, password: &Password, hash: Option<&PasswordHash>) -> bool {
        let _alone = Alone::begin();
        let digest = digest(password);
        let verify = |kept: &str| ::bcrypt::non_truncating_verify(&digest, kept).unwrap_or(false);
        let kept = hash.and_then(|hash| Some((hash, cost_of(hash)?)));
        let Some((hash, cost)) = kept else {
            verify(&nobodys(self.cost));
            return false;
        };
        let matches = verify(hash.as_str());
        // Each step of the cost doubles the time: once more with every cost in between, and it is that of a new hash.
        for cost in cost..self.cost {
            verify(&nobodys(cost));
        }
        matches
    }

    fn is_outdated(&self, hash: &PasswordHash) -> bool {
        cost_of(hash).is_some_and(|cost| cost < self.cost)
    }
}

/// What bcrypt gets: the password as every keyboard spells it (NFKC), all of it significant, in 44 characters.
fn digest(password: &Password) -> String {
    let mut hash = Sha256::new_with_prefix(CONTEXT);
    let mut buffer = [0; 4];
    for char in password.expose().nfkc() {
        hash.update(char.encode_utf8(&mut buffer));
    }
    STANDARD.encode(hash.finalize())
}

/// While this lives, the host gives the instance no further request: it would only wait for the hash.
struct Alone;

impl Alone {
    fn begin() -> Self {
        #[cfg(target_family = "wasm")]
        spin_sdk::wit_bindgen::backpressure_inc();
        Self
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        #[cfg(target_family = "wasm")]
        spin_sdk::wit_bindgen::backpressure_dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::claimed(text.to_owned())
    }

    fn accepts(kept: &str, typed: &str) -> bool {
        let hasher = Bcrypt::new(4).unwrap();
        let hash = hasher.hash(&password(kept)).unwrap();
        hasher.verify(&password(typed), Some(&hash))
    }

    #[test]
    fn every_character_of_a_password_counts() {
        let long = "ж".repeat(127);
        assert!(accepts("rose rose", "rose rose"));
        assert!(accepts(&format!("{long}a"), &format!("{long}a")));
        for (kept, typed) in [
            ("rose rose", "Rose rose"),
            ("rose rose", "rose rose "),
            ("rose\0rose", "rose\0tulip"),
            (&format!("{long}a"), &format!("{long}b")),
        ] {
            assert!(!accepts(kept, typed), "{kept:?} {typed:?}");
        }
    }

    #[test]
    fn a_password_is_the_same_however_a_keyboard_encodes_it() {
        assert!(accepts("caf\u{e9} caf\u{e9}", "cafe\u{301} cafe\u{301}"));
        assert!(accepts("\u{ff52}\u{ff4f}\u{ff53}\u{ff45} rose", "rose rose"));
    }

    #[test]
    fn a_hash_that_was_kept_once_is_accepted_for_ever() {
        let kept = "$2b$04$Qn6mAyUm/ITKy4PTIttaYuRSzogXjxdsSgDHJew8j7IfvKCRmkfK6".to_owned();
        let hasher = Bcrypt::new(12).unwrap();
        assert!(hasher.verify(&password("caf\u{e9} rose"), Some(&kept.into())));
    }

    #[test]
    fn the_demos_users_sign_in_with_the_passwords_that_it_names() {
        // Each user stands under a comment that is their password.
        let sql = include_str!("../../../../demo/auth.sql");
        let hasher = Bcrypt::new(4).unwrap();
        let mut seen = 0;
        for user in sql.split("    -- ").skip(1) {
            let word = user.lines().next().unwrap();
            let hash = user.split('\'').find(|text| text.starts_with("$2b$12$")).unwrap();
            assert!(
                hasher.verify(&password(word), Some(&hash.to_owned().into())),
                "{word}"
            );
            seen += 1;
        }
        assert_eq!(seen, 3);
    }

    #[test]
    fn where_there_is_no_hash_one_of_the_same_cost_is_verified() {
        let nobodys = nobodys(5);
        assert_eq!(cost_of(&nobodys.clone().into()), Some(5));
        assert!(::bcrypt::non_truncating_verify("anything", &nobodys).is_ok());
        assert!(!Bcrypt::new(5).unwrap().verify(&password("rose rose"), None));
    }

    #[test]
    fn a_hash_of_a_lower_cost_is_accepted_and_outdated() {
        let kept = Bcrypt::new(4).unwrap().hash(&password("rose rose")).unwrap();
        for (cost, is_outdated) in [(4, false), (5, true), (6, true)] {
            let hasher = Bcrypt::new(cost).unwrap();
            assert!(hasher.verify(&password("rose rose"), Some(&kept)));
            assert!(!hasher.verify(&password("rose"), Some(&kept)));
            assert_eq!(hasher.is_outdated(&kept), is_outdated, "{cost}");
        }
        assert!(!Bcrypt::new(4).unwrap().is_outdated(&"none".to_owned().into()));
    }

    #[test]
    fn a_hash_that_is_none_matches_no_password() {
        for kept in ["", "rose rose", "$2b$04$short"] {
            let hasher = Bcrypt::new(4).unwrap();
            assert!(!hasher.verify(&password("rose rose"), Some(&kept.to_owned().into())));
        }
    }

    #[test]
    fn the_cost_has_bounds() {
        assert!(Bcrypt::new(4).is_ok());
        assert!(Bcrypt::new(3).is_err());
        assert!(Bcrypt::new(32).is_err());
    }
}
