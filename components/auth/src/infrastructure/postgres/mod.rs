//! Accounts in Postgres: users, their sessions, and how often somebody guessed.

mod guesses;
mod sessions;
mod users;

use service::database::{Database, Session};

/// One request's view of auth's schema.
pub struct PostgresAccounts<'a> {
    session: Session<'a>,
}

impl<'a> PostgresAccounts<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }
}
