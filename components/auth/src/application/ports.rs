//! What the use cases need of the world.

use crate::domain::{Account, Email, Password, PasswordHash, User};
use contracts::{Timestamp, UserId};
use service::StoreError;

/// The shop could not hash or sign: a mistake of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cryptography failed: {0}")]
pub struct Fault(pub String);

/// Where users are kept.
pub trait Users {
    /// Stores a new user; `false` if the address belongs to somebody.
    ///
    /// MUST decide that by the write itself: of two at the same time one is stored.
    async fn insert(&self, account: &Account) -> Result<bool, StoreError>;

    /// The account of this address, however it is spelled.
    async fn find_account(&self, email: &Email) -> Result<Option<Account>, StoreError>;

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError>;
}

/// Turns passwords into what may be kept.
pub trait PasswordHasher {
    /// A new hash. Takes as long as the configured cost says.
    fn hash(&self, password: &Password) -> Result<PasswordHash, Fault>;

    /// Whether `password` is the one of `hash`; never without a hash.
    ///
    /// MUST take as long without a hash as with one: else the time tells which addresses have an account.
    fn verify(&self, password: &Password, hash: Option<&PasswordHash>) -> bool;
}

/// A token that the services believe until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    pub text: String,
    pub ttl_seconds: u32,
}

/// Signs tokens.
pub trait TokenIssuer {
    fn issue(&self, user: &User, now: Timestamp) -> Result<AccessToken, Fault>;
}
