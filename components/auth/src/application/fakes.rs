//! The ports without a world, for tests.

use super::ports::{AccessToken, Fault, PasswordHasher, TokenIssuer, Users};
use crate::domain::{Account, Email, Password, PasswordHash, User};
use contracts::{Timestamp, UserId};
use service::StoreError;
use std::cell::{Cell, RefCell};

/// An active user.
pub(crate) fn account(email: &str, password: &str) -> Account {
    let email = email.to_owned().try_into().unwrap();
    Account {
        user: User::registered(email, None, Timestamp::now()),
        password_hash: password.to_owned().into(),
    }
}

#[derive(Default)]
pub(crate) struct FakeUsers(RefCell<Vec<Account>>);

impl FakeUsers {
    pub(crate) fn of(accounts: impl IntoIterator<Item = Account>) -> Self {
        Self(RefCell::new(accounts.into_iter().collect()))
    }
}

impl Users for FakeUsers {
    async fn insert(&self, account: &Account) -> Result<bool, StoreError> {
        if self.find_account(&account.user.email).await?.is_some() {
            return Ok(false);
        }
        self.0.borrow_mut().push(account.clone());
        Ok(true)
    }

    async fn find_account(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let accounts = self.0.borrow();
        Ok(accounts
            .iter()
            .find(|account| account.user.email.key() == email.key())
            .cloned())
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let accounts = self.0.borrow();
        Ok(accounts
            .iter()
            .map(|account| &account.user)
            .find(|user| user.id == id)
            .cloned())
    }
}

/// Hashes nothing, and counts.
#[derive(Default)]
pub(crate) struct FakeHasher {
    pub(crate) verifications: Cell<u32>,
}

impl PasswordHasher for FakeHasher {
    fn hash(&self, password: &Password) -> Result<PasswordHash, Fault> {
        Ok(password.expose().to_owned().into())
    }

    fn verify(&self, password: &Password, hash: Option<&PasswordHash>) -> bool {
        self.verifications.set(self.verifications.get() + 1);
        hash.is_some_and(|hash| hash.as_str() == password.expose())
    }
}

/// Its tokens are ids.
pub(crate) struct FakeTokens;

impl TokenIssuer for FakeTokens {
    fn issue(&self, user: &User, _: Timestamp) -> Result<AccessToken, Fault> {
        Ok(AccessToken {
            text: user.id.to_string(),
            ttl_seconds: 1800,
        })
    }
}
