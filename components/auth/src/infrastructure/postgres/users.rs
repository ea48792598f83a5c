//! Users.

use super::PostgresAccounts;
use super::sessions::new_session;
use crate::application::{NewSession, Stored, UserFilter, Users};
use crate::domain::{Account, Claim, Email, PasswordHash, User, UserChange};
use contracts::{Timestamp, UserId};
use service::database::Row;
use service::{Page, PageQuery, StoreError};
use uuid::Uuid;

/// The schema's own word for: an address belongs to one user.
const EMAIL_TAKEN: &str = "users_email_key";

impl Users for PostgresAccounts<'_> {
    async fn insert(&self, account: &Account, session: &NewSession) -> Result<bool, StoreError> {
        let user = &account.user;
        let mut parameters = new_session(session);
        parameters.extend([
            user.email.as_str().to_owned().into(),
            user.email.key().into(),
            account.password_hash.as_str().to_owned().into(),
            user.full_name.clone().into(),
            user.role.as_str().to_owned().into(),
            user.created_at.naive().into(),
        ]);
        self.prune().await;
        let inserted = self
            .session
            .query(include_str!("../sql/insert_user.sql"), parameters)
            .await;
        match inserted {
            Ok(_) => Ok(true),
            Err(StoreError::Constraint(name)) if name == EMAIL_TAKEN => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn find_account(
        &self,
        email: &Email,
        claim: &Claim,
    ) -> Result<Option<(Account, bool)>, StoreError> {
        let client = claim.client_hash().map(|hash| hash.to_vec());
        let parameters = vec![email.key().into(), client.into()];
        let row = self
            .session
            .query_one(include_str!("../sql/find_account.sql"), parameters)
            .await?;
        let account = |row: &Row| {
            let account = Account {
                user: user(row)?,
                password_hash: row.get::<String>("password_hash")?.into(),
            };
            Ok((account, row.get("is_familiar")?))
        };
        row.as_ref().map(account).transpose()
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row = self
            .session
            .query_one(include_str!("../sql/find_user.sql"), vec![id.as_uuid().into()])
            .await?;
        row.as_ref().map(user).transpose()
    }

    async fn list(&self, filter: &UserFilter, page: PageQuery) -> Result<Page<User>, StoreError> {
        let parameters = vec![
            filter.email.as_ref().map(Email::key).into(),
            filter.role.map(|role| role.as_str().to_owned()).into(),
            filter.is_active.into(),
            page.skip.into(),
            page.limit.into(),
        ];
        let rows = self
            .session
            .query(include_str!("../sql/list_users.sql"), parameters)
            .await?;
        let total = rows.first().map_or(Ok(0), |row| row.get("total"))?;
        let mut users = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.get::<Option<Uuid>>("id")?.is_some() {
                users.push(user(row)?);
            }
        }
        Ok(Page::new(page, total, users))
    }

    async fn store(&self, change: &UserChange) -> Result<Stored, StoreError> {
        let user = &change.user;
        let parameters = vec![
            user.id.as_uuid().into(),
            user.version.into(),
            user.role.as_str().to_owned().into(),
            user.is_active.into(),
            change.ends_sessions.into(),
            change.removes_admin.into(),
            Timestamp::now().naive().into(),
        ];
        let row = self
            .session
            .query_one(include_str!("../sql/update_user.sql"), parameters)
            .await?;
        let Some(row) = row else {
            return Err(StoreError::Mistake(
                "no row says what became of a user".to_owned(),
            ));
        };
        let (is_stored, has_others): (bool, bool) = (row.get("is_stored")?, row.get("has_others")?);
        Ok(match (is_stored, change.removes_admin && !has_others) {
            (true, _) => Stored::Done,
            (false, true) => Stored::LastAdmin,
            (false, false) => Stored::Late,
        })
    }

    async fn upgrade_hash(
        &self,
        id: UserId,
        verified: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), StoreError> {
        let parameters = vec![
            id.as_uuid().into(),
            verified.as_str().to_owned().into(),
            new.as_str().to_owned().into(),
        ];
        self.session
            .query(include_str!("../sql/upgrade_hash.sql"), parameters)
            .await?;
        Ok(())
    }
}

pub(super) fn user(row: &Row) -> Result<User, StoreError> {
    let email = Email::try_from(row.get::<String>("email")?);
    Ok(User {
        id: row.get::<Uuid>("id")?.into(),
        email: email.map_err(|_| StoreError::Mistake("an address that is none".to_owned()))?,
        full_name: row.get("full_name")?,
        role: row.word("role")?,
        is_active: row.get("is_active")?,
        version: row.get("version")?,
        created_at: row.time("created_at")?,
    })
}
