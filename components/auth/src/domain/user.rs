//! A user of the shop.

use super::{Email, FullName};
use contracts::{Timestamp, UserId};
pub use service::Role;
use std::fmt;

/// A user, without what opens their account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub email: Email,
    pub full_name: Option<String>,
    pub role: Role,
    /// A user who is not cannot sign in, nor use the tokens they have for anything here.
    pub is_active: bool,
    pub created_at: Timestamp,
}

impl User {
    /// A user who has just registered: nobody makes themselves more than that.
    #[must_use]
    pub fn registered(email: Email, full_name: Option<FullName>, now: Timestamp) -> Self {
        Self {
            id: UserId::new(),
            email,
            full_name: full_name.map(String::from),
            role: Role::User,
            is_active: true,
            created_at: now,
        }
    }
}

/// A password's hash, as it is kept. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl From<String> for PasswordHash {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl PasswordHash {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// A user and what their password is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub user: User,
    pub password_hash: PasswordHash,
}
