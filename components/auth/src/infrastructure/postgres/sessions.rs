//! Sessions and their refresh tokens.

use super::PostgresAccounts;
use super::users::user;
use crate::application::{FoundSession, NewSession, Sessions};
use crate::domain::{Exchange, Session, TokenHash, User};
use service::StoreError;
use service::database::Row;
use service::log::{self, Level};
use spin_sdk::pg::ParameterValue;
use uuid::Uuid;

impl Sessions for PostgresAccounts<'_> {
    async fn begin(&self, new: &NewSession) -> Result<Option<User>, StoreError> {
        self.prune().await;
        let row = self
            .session
            .query_one(include_str!("../sql/begin_session.sql"), new_session(new))
            .await?;
        row.as_ref().map(user).transpose()
    }

    async fn find_session(&self, token: &TokenHash) -> Result<Option<FoundSession>, StoreError> {
        let row = self
            .session
            .query_one(
                include_str!("../sql/find_session.sql"),
                vec![token.0.clone().into()],
            )
            .await?;
        row.as_ref().map(found).transpose()
    }

    async fn store_exchange(
        &self,
        user: &User,
        after: &Session,
        before: i64,
        given: &TokenHash,
    ) -> Result<bool, StoreError> {
        self.prune().await;
        let exchanged = after.exchanged.as_ref();
        let parameters = vec![
            after.id.into(),
            before.into(),
            after.generation.into(),
            exchanged.map(|exchange| exchange.token.0.clone()).into(),
            exchanged.map(|exchange| exchange.at.naive()).into(),
            given.0.clone().into(),
            user.id.as_uuid().into(),
            user.version.into(),
        ];
        let row = self
            .session
            .query_one(include_str!("../sql/store_exchange.sql"), parameters)
            .await?;
        Ok(row.is_some())
    }

    async fn revoke(&self, token: &TokenHash) -> Result<(), StoreError> {
        self.session
            .query(
                include_str!("../sql/revoke_session.sql"),
                vec![token.0.clone().into()],
            )
            .await?;
        Ok(())
    }
}

impl PostgresAccounts<'_> {
    /// Removes some of what has expired, so that there is never much of it. If it fails the next one does it as well.
    ///
    /// To be called before a token is stored and not after: if it takes too long nothing has happened yet, whereas a token
    /// that is stored and not answered is lost.
    pub(super) async fn prune(&self) {
        let pruned = self
            .session
            .query(include_str!("../sql/prune_sessions.sql"), Vec::new())
            .await;
        if let Err(error) = pruned {
            log::line(
                Level::Warn,
                "sessions are not pruned",
                &[("error", &error.to_string())],
            );
        }
    }
}

/// The first parameters of every statement that begins a session.
pub(super) fn new_session(new: &NewSession) -> Vec<ParameterValue> {
    let client = new.client_hash.map(|hash| hash.to_vec());
    vec![
        new.session.id.into(),
        new.session.user_id.as_uuid().into(),
        new.session.expires_at.naive().into(),
        new.token.0.clone().into(),
        client.into(),
    ]
}

fn found(row: &Row) -> Result<FoundSession, StoreError> {
    let user = user(row)?;
    let exchanged = match row.get::<Option<Vec<u8>>>("exchanged_hash")? {
        Some(hash) => Some(Exchange {
            token: TokenHash(hash),
            at: row.time("exchanged_at")?,
        }),
        None => None,
    };
    Ok(FoundSession {
        session: Session {
            id: row.get::<Uuid>("session_id")?,
            user_id: user.id,
            generation: row.get("generation")?,
            exchanged,
            expires_at: row.time("expires_at")?,
            is_revoked: row.get("is_revoked")?,
        },
        generation: row.get("token_generation")?,
        user,
        now: row.time("now")?,
    })
}
