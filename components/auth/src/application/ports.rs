//! What the use cases need of the world.

use crate::domain::{
    Account, Claim, Email, Lane, Password, PasswordHash, RefreshToken, Role, Session, TokenHash, User,
    UserChange,
};
use contracts::{Timestamp, UserId};
use service::{Page, PageQuery, StoreError};

/// The shop could not hash, sign or draw: a mistake of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cryptography failed: {0}")]
pub struct Fault(pub String);

/// Which users a list shows.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    pub email: Option<Email>,
    pub role: Option<Role>,
    pub is_active: Option<bool>,
}

/// What became of a user's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Done,
    /// The version has moved on.
    Late,
    /// There is no other active admin.
    LastAdmin,
}

/// Where users are kept.
pub trait Users {
    /// Stores a new user with their first session; `false` if the address belongs to somebody.
    ///
    /// MUST decide that by the write itself: of two at the same time one is stored.
    async fn insert(&self, account: &Account, session: &NewSession) -> Result<bool, StoreError>;

    /// The account of the address, however it is spelled, and whether it is familiar with the client: a session of it
    /// began there that has not expired.
    async fn find_account(&self, email: &Email, claim: &Claim)
    -> Result<Option<(Account, bool)>, StoreError>;

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError>;

    /// A page of the matching users, newest first.
    async fn list(&self, filter: &UserFilter, page: PageQuery) -> Result<Page<User>, StoreError>;

    /// Stores a change and ends the user's sessions if it says so, both or nothing.
    ///
    /// MUST store nothing if the version has moved on, and MUST NOT remove the last active admin, whoever else is removed
    /// at the same time.
    async fn store(&self, change: &UserChange) -> Result<Stored, StoreError>;

    /// Keeps another hash of the password, if the one that was verified is still kept.
    async fn upgrade_hash(
        &self,
        id: UserId,
        verified: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), StoreError>;
}

/// A session with its first token.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub session: Session,
    pub token: TokenHash,
    pub client_hash: Option<[u8; 32]>,
}

/// A session as one of its tokens found it.
#[derive(Clone, Debug)]
pub struct FoundSession {
    pub session: Session,
    /// Of the token.
    pub generation: i64,
    pub user: User,
    /// By the store's clock.
    pub now: Timestamp,
}

/// Where sessions are kept.
pub trait Sessions {
    /// Begins a session and gives its user; `None` if they were deactivated by now.
    ///
    /// MUST give the user as they are when the session begins, whoever changes them at the same time.
    async fn begin(&self, new: &NewSession) -> Result<Option<User>, StoreError>;

    /// The session that gave this token out.
    async fn find_session(&self, token: &TokenHash) -> Result<Option<FoundSession>, StoreError>;

    /// Stores a session after an exchange, with the token that was given. `false`: it is not of the generation `before`
    /// any more, or has ended, or its user is not any more as `user` says; and it MUST be as it was.
    async fn store_exchange(
        &self,
        user: &User,
        after: &Session,
        before: i64,
        given: &TokenHash,
    ) -> Result<bool, StoreError>;

    /// Revokes the session that gave this token out, if there is one.
    async fn revoke(&self, token: &TokenHash) -> Result<(), StoreError>;
}

/// An attempt to sign in that was let through and counts as failed until it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub lanes: Vec<[u8; 32]>,
    /// What the store knows it by.
    pub mark: String,
}

/// Whether somebody may try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted(Attempt),
    /// Too much failed.
    Held {
        /// When the next one passes: 1 to 60.
        retry_after_seconds: u32,
    },
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Failed,
    /// It does not count.
    Succeeded,
}

/// Counts attempts to sign in.
pub trait Guesses {
    /// Lets an attempt through where all of its lanes do.
    ///
    /// MUST count it before it answers: of many at the same time no more pass than may fail. Where only attempts that
    /// are under way fill a lane, it waits for a while until they end.
    async fn admit(&self, lanes: &[Lane]) -> Result<Admission, StoreError>;

    async fn settle(&self, attempt: &Attempt, outcome: Outcome) -> Result<(), StoreError>;
}

/// Turns passwords into what may be kept.
pub trait PasswordHasher {
    /// A new hash. Takes as long as the configured cost says.
    fn hash(&self, password: &Password) -> Result<PasswordHash, Fault>;

    /// Whether `password` is the one of `hash`; never without a hash.
    ///
    /// MUST take as long without a hash as with one, and with one of a lower cost: else the time tells which addresses
    /// have an account.
    fn verify(&self, password: &Password, hash: Option<&PasswordHash>) -> bool;

    /// Whether `hash` is of a lower cost than new ones.
    fn is_outdated(&self, hash: &PasswordHash) -> bool;
}

/// A token that the services believe until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    pub text: String,
    pub ttl_seconds: u32,
}

/// Signs and draws tokens.
pub trait TokenIssuer {
    fn issue(&self, user: &User, now: Timestamp) -> Result<AccessToken, Fault>;

    /// A new refresh token, which nobody can guess.
    fn draw_refresh_token(&self) -> Result<RefreshToken, Fault>;

    /// How long a session can be refreshed.
    fn session_ttl(&self) -> std::time::Duration;
}
