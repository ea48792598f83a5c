//! The ports without a world, for tests.

use super::ports::{
    AccessToken, Admission, Attempt, Fault, FoundSession, Guesses, NewSession, Outcome, PasswordHasher,
    Sessions, Stored, TokenIssuer, UserFilter, Users,
};
use crate::domain::{
    Account, Claim, Email, Lane, Password, PasswordHash, RefreshToken, Role, Session, TokenHash, User,
    UserChange, UserPatch,
};
use contracts::{Timestamp, UserId};
use service::{Page, PageQuery, StoreError};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

/// An active user.
pub(crate) fn account(email: &str, password: &str) -> Account {
    let email = email.to_owned().try_into().unwrap();
    Account {
        user: User::registered(email, None, Timestamp::now()),
        password_hash: password.to_owned().into(),
    }
}

/// Keeps what Postgres would, and knows what it was asked.
#[derive(Default)]
pub(crate) struct FakeStore {
    accounts: RefCell<Vec<Account>>,
    sessions: RefCell<Vec<Session>>,
    /// Of each token its session and generation.
    tokens: RefCell<Vec<(TokenHash, Session, i64)>>,
    failures: RefCell<HashMap<[u8; 32], u32>>,
    interference: Cell<usize>,
    meanwhile: RefCell<Option<UserChange>>,
    keeps_hashes: Cell<bool>,
    asked: RefCell<Vec<&'static str>>,
}

impl FakeStore {
    pub(crate) fn of(accounts: impl IntoIterator<Item = Account>) -> Self {
        Self {
            accounts: RefCell::new(accounts.into_iter().collect()),
            ..Self::default()
        }
    }

    pub(crate) fn asked(&self) -> Vec<&'static str> {
        self.asked.take()
    }

    /// Has so many exchanges be too late.
    pub(crate) fn interfere(&self, exchanges: usize) {
        self.interference.set(exchanges);
    }

    /// Has an admin change the user just before the next session begins or is exchanged.
    pub(crate) fn change_meanwhile(&self, user: &User, patch: UserPatch) {
        self.meanwhile.replace(user.change(patch));
    }

    async fn pass_time(&self) -> Result<(), StoreError> {
        let change = self.meanwhile.take();
        if let Some(change) = change {
            self.store(&change).await?;
        }
        Ok(())
    }

    /// Stores no hash any more that is made anew.
    pub(crate) fn keep_hashes(&self) {
        self.keeps_hashes.set(true);
    }

    pub(crate) fn hash_of(&self, email: &str) -> PasswordHash {
        let accounts = self.accounts.borrow();
        let account = accounts
            .iter()
            .find(|account| account.user.email.as_str() == email);
        account.unwrap().password_hash.clone()
    }

    fn keep(&self, new: &NewSession) {
        self.sessions.borrow_mut().push(new.session.clone());
        self.tokens
            .borrow_mut()
            .push((new.token.clone(), new.session.clone(), 0));
    }
}

impl Users for FakeStore {
    async fn insert(&self, account: &Account, session: &NewSession) -> Result<bool, StoreError> {
        let mut accounts = self.accounts.borrow_mut();
        let key = account.user.email.key();
        if accounts.iter().any(|known| known.user.email.key() == key) {
            return Ok(false);
        }
        accounts.push(account.clone());
        self.keep(session);
        Ok(true)
    }

    async fn find_account(&self, email: &Email, _: &Claim) -> Result<Option<(Account, bool)>, StoreError> {
        self.asked.borrow_mut().push("find_account");
        let accounts = self.accounts.borrow();
        let account = accounts
            .iter()
            .find(|account| account.user.email.key() == email.key());
        Ok(account.map(|account| (account.clone(), false)))
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let accounts = self.accounts.borrow();
        Ok(accounts
            .iter()
            .map(|account| &account.user)
            .find(|user| user.id == id)
            .cloned())
    }

    async fn list(&self, _: &UserFilter, page: PageQuery) -> Result<Page<User>, StoreError> {
        let accounts = self.accounts.borrow();
        let users = accounts.iter().map(|account| account.user.clone()).collect();
        Ok(Page::new(
            page,
            accounts.len().try_into().unwrap_or(i64::MAX),
            users,
        ))
    }

    async fn store(&self, change: &UserChange) -> Result<Stored, StoreError> {
        let mut accounts = self.accounts.borrow_mut();
        let is_other_admin = |account: &Account| {
            account.user.id != change.user.id && account.user.role == Role::Admin && account.user.is_active
        };
        if change.removes_admin && !accounts.iter().any(is_other_admin) {
            return Ok(Stored::LastAdmin);
        }
        for account in accounts
            .iter_mut()
            .filter(|account| account.user.id == change.user.id)
        {
            account.user = change.user.clone();
        }
        if change.ends_sessions {
            let mut sessions = self.sessions.borrow_mut();
            for session in sessions
                .iter_mut()
                .filter(|session| session.user_id == change.user.id)
            {
                session.is_revoked = true;
            }
        }
        Ok(Stored::Done)
    }

    async fn upgrade_hash(
        &self,
        id: UserId,
        verified: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), StoreError> {
        if self.keeps_hashes.get() {
            return Err(StoreError::Unavailable("statement timeout".to_owned()));
        }
        for account in self.accounts.borrow_mut().iter_mut() {
            if account.user.id == id && account.password_hash == *verified {
                account.password_hash = new.clone();
            }
        }
        Ok(())
    }
}

impl Sessions for FakeStore {
    async fn begin(&self, new: &NewSession) -> Result<Option<User>, StoreError> {
        self.pass_time().await?;
        let user = self.find(new.session.user_id).await?;
        let user = user.filter(|user| user.is_active);
        if user.is_some() {
            self.keep(new);
        }
        Ok(user)
    }

    async fn find_session(&self, token: &TokenHash) -> Result<Option<FoundSession>, StoreError> {
        let found = self.tokens.borrow().iter().find_map(|(hash, of, generation)| {
            let sessions = self.sessions.borrow();
            let session = sessions.iter().find(|session| session.id == of.id)?;
            (hash == token).then(|| (session.clone(), *generation))
        });
        let Some((session, generation)) = found else {
            return Ok(None);
        };
        let user = self.find(session.user_id).await?;
        Ok(user.map(|user| FoundSession {
            session,
            generation,
            user,
            now: Timestamp::now(),
        }))
    }

    async fn store_exchange(
        &self,
        user: &User,
        after: &Session,
        before: i64,
        given: &TokenHash,
    ) -> Result<bool, StoreError> {
        let interference = self.interference.get();
        if interference > 0 {
            self.interference.set(interference - 1);
            return Ok(false);
        }
        self.pass_time().await?;
        if self.find(user.id).await?.as_ref() != Some(user) {
            return Ok(false);
        }
        let mut sessions = self.sessions.borrow_mut();
        let session = sessions
            .iter_mut()
            .find(|session| session.id == after.id)
            .unwrap();
        assert_eq!(session.generation, before);
        *session = after.clone();
        self.tokens
            .borrow_mut()
            .push((given.clone(), after.clone(), after.generation));
        Ok(true)
    }

    async fn revoke(&self, token: &TokenHash) -> Result<(), StoreError> {
        let tokens = self.tokens.borrow();
        if let Some((_, of, _)) = tokens.iter().find(|(hash, ..)| hash == token) {
            let mut sessions = self.sessions.borrow_mut();
            for session in sessions.iter_mut().filter(|session| session.id == of.id) {
                session.is_revoked = true;
            }
        }
        Ok(())
    }
}

impl Guesses for FakeStore {
    async fn admit(&self, lanes: &[Lane]) -> Result<Admission, StoreError> {
        self.asked.borrow_mut().push("admit");
        let failures = self.failures.borrow();
        let held = lanes.iter().find(|lane| {
            failures
                .get(&lane.key)
                .is_some_and(|failed| *failed >= lane.limit.failures)
        });
        Ok(match held {
            Some(lane) => Admission::Held {
                retry_after_seconds: lane.limit.hold_seconds,
            },
            None => Admission::Admitted(Attempt {
                lanes: lanes.iter().map(|lane| lane.key).collect(),
                mark: String::new(),
            }),
        })
    }

    async fn settle(&self, attempt: &Attempt, outcome: Outcome) -> Result<(), StoreError> {
        self.asked.borrow_mut().push("settle");
        if outcome == Outcome::Failed {
            for lane in &attempt.lanes {
                *self.failures.borrow_mut().entry(*lane).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// Hashes nothing, and counts. What begins with `old:` is of a lower cost.
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
        hash.is_some_and(|hash| hash.as_str().trim_start_matches("old:") == password.expose())
    }

    fn is_outdated(&self, hash: &PasswordHash) -> bool {
        hash.as_str().starts_with("old:")
    }
}

/// Its access tokens are ids and roles, its refresh tokens numbers.
#[derive(Default)]
pub(crate) struct FakeTokens {
    drawn: Cell<u32>,
}

impl TokenIssuer for FakeTokens {
    fn issue(&self, user: &User, _: Timestamp) -> Result<AccessToken, Fault> {
        Ok(AccessToken {
            text: format!("{} {}", user.id, user.role.as_str()),
            ttl_seconds: 1800,
        })
    }

    fn draw_refresh_token(&self) -> Result<RefreshToken, Fault> {
        self.drawn.set(self.drawn.get() + 1);
        Ok(RefreshToken::of_random(&self.drawn.get().to_string()))
    }

    fn session_ttl(&self) -> Duration {
        Duration::from_secs(3600)
    }
}
