//! Users in Postgres.

use crate::application::Users;
use crate::domain::{Account, Email, User};
use contracts::UserId;
use service::StoreError;
use service::database::{Database, Row, Session};
use uuid::Uuid;

/// The schema's own word for: an address belongs to one user.
const EMAIL_TAKEN: &str = "users_email_key";

/// One request's view of auth's schema.
pub struct PostgresUsers<'a> {
    session: Session<'a>,
}

impl<'a> PostgresUsers<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }
}

impl Users for PostgresUsers<'_> {
    async fn insert(&self, account: &Account) -> Result<bool, StoreError> {
        let user = &account.user;
        let parameters = vec![
            user.id.as_uuid().into(),
            user.email.as_str().to_owned().into(),
            user.email.key().into(),
            account.password_hash.as_str().to_owned().into(),
            user.full_name.clone().into(),
            user.role.as_str().to_owned().into(),
            user.created_at.naive().into(),
        ];
        let inserted = self
            .session
            .query(include_str!("sql/insert_user.sql"), parameters)
            .await;
        match inserted {
            Ok(_) => Ok(true),
            Err(StoreError::Constraint(name)) if name == EMAIL_TAKEN => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn find_account(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let row = self
            .session
            .query_one(include_str!("sql/find_account.sql"), vec![email.key().into()])
            .await?;
        let account = |row: &Row| {
            Ok(Account {
                user: user(row)?,
                password_hash: row.get::<String>("password_hash")?.into(),
            })
        };
        row.as_ref().map(account).transpose()
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row = self
            .session
            .query_one(include_str!("sql/find_user.sql"), vec![id.as_uuid().into()])
            .await?;
        row.as_ref().map(user).transpose()
    }
}

fn user(row: &Row) -> Result<User, StoreError> {
    let email = Email::try_from(row.get::<String>("email")?);
    Ok(User {
        id: row.get::<Uuid>("id")?.into(),
        email: email.map_err(|_| StoreError::Mistake("an address that is none".to_owned()))?,
        full_name: row.get("full_name")?,
        role: row.word("role")?,
        is_active: row.get("is_active")?,
        created_at: row.time("created_at")?,
    })
}
