//! Postgres through Spin. A use case is one or two statements and no transaction is ever left open: Spin hands out
//! pooled connections without a rollback (R1).

#[cfg(not(target_family = "wasm"))]
pub mod native;
#[cfg(target_family = "wasm")]
mod spin;

use crate::store::StoreError;
use contracts::Timestamp;
#[cfg(not(target_family = "wasm"))]
use native::{Given, Line, Server};
use serde::de::DeserializeOwned;
#[cfg(target_family = "wasm")]
use spin::{Given, Line, Server};
use spin_sdk::pg::{self, DbError, ParameterValue, PgError, QueryError};
use std::str::FromStr;
use uuid::Uuid;

/// Where a service keeps its state.
#[derive(Clone)]
pub struct Database(Server);

impl Database {
    /// `address` holds a password: it is never shown.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self(Server::at(address))
    }

    /// A database that is reached over this connection, and not through Spin.
    #[cfg(not(target_family = "wasm"))]
    #[must_use]
    pub fn over(connection: std::rc::Rc<dyn native::Connection>) -> Self {
        Self(Server::behind(connection))
    }

    /// One request's view, which opens its connection when it is first needed.
    #[must_use]
    pub fn session(&self) -> Session<'_> {
        Session(self.0.line())
    }
}

/// One request's connection. What bounds its calls in time is the deadline of the request ([`crate::router`]) and
/// the server's own `statement_timeout`.
pub struct Session<'a>(Line<'a>);

impl Session<'_> {
    /// Runs one statement and gives its rows.
    ///
    /// # Errors
    /// As [`StoreError`] says; a write that ends `Unavailable` may have happened.
    pub async fn query(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.0.query(statement, parameters).await.map_err(from_pg)?;
        Ok(rows.into_iter().map(Row).collect())
    }

    /// Runs one statement that gives at most one row.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_one(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(statement, parameters).await?.into_iter().next())
    }
}

/// One row of a result.
pub struct Row(Given);

impl Row {
    /// The column `name`, as a `T`.
    ///
    /// # Errors
    /// If there is no such column or it is no `T`: a mistake in a statement.
    pub fn get<T: pg::Decode>(&self, name: &str) -> Result<T, StoreError> {
        self.0
            .get(name)
            .ok_or_else(|| StoreError::Mistake(format!("column {name} is absent or of another type")))
    }

    /// The text column `name`, read as a `T`.
    ///
    /// # Errors
    /// As [`Self::get`], or if it is no word of a `T`.
    pub fn word<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        let text: String = self.get(name)?;
        text.parse()
            .map_err(|_| StoreError::Mistake(format!("column {name}: {text:?} is no word of ours")))
    }

    /// The `timestamp` column `name`, which is in UTC: what is stored with a time zone is selected
    /// `at time zone 'utc'`, for Spin passes no `timestamptz`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.get::<chrono::NaiveDateTime>(name).map(Timestamp::from)
    }

    /// The `jsonb` column `name`; null reads as the empty value that it stands for.
    ///
    /// # Errors
    /// As [`Self::get`], or if it has another shape.
    pub fn json<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, StoreError> {
        let value: Option<serde_json::Value> = self.get(name)?;
        let read = value.map(serde_json::from_value).transpose();
        read.map(Option::unwrap_or_default)
            .map_err(|error| StoreError::Mistake(format!("column {name}: {error}")))
    }
}

/// A list of ids, to be cast by `$n::text[]::uuid[]`: Spin passes no `uuid[]`.
#[must_use]
pub fn uuids(ids: impl IntoIterator<Item = Uuid>) -> ParameterValue {
    let texts: Vec<_> = ids.into_iter().map(|id| id.to_string()).collect();
    texts.into()
}

/// A JSON document as a `jsonb` parameter: how whole batches reach one statement (`jsonb_to_recordset`).
///
/// # Errors
/// If `value` is no JSON, for example a map whose keys are no strings.
pub fn jsonb(value: &impl serde::Serialize) -> Result<ParameterValue, StoreError> {
    pg::jsonb(value).map_err(|error| StoreError::Mistake(error.to_string()))
}

fn from_pg(error: pg::Error) -> StoreError {
    match error {
        pg::Error::Decode(message) => StoreError::Mistake(message),
        pg::Error::PgError(PgError::QueryFailed(QueryError::DbError(error))) => from_sqlstate(error),
        pg::Error::PgError(PgError::QueryFailed(QueryError::Text(text))) => StoreError::Unavailable(text),
        pg::Error::PgError(PgError::ConnectionFailed(_)) => {
            // The host's words may name the server and its user.
            StoreError::Unavailable("no connection".to_owned())
        }
        pg::Error::PgError(PgError::Other(text)) => StoreError::Unavailable(text),
        pg::Error::PgError(PgError::BadParameter(text) | PgError::ValueConversionFailed(text)) => {
            StoreError::Mistake(text)
        }
    }
}

/// Sorts by SQLSTATE (PostgreSQL, appendix A).
fn from_sqlstate(error: DbError) -> StoreError {
    match error.code.as_str() {
        "40001" | "40P01" | "55P03" => StoreError::Contention,
        // query_canceled is the statement timeout; 08, 53, 57P: lost, exhausted, shutting down.
        "57014" => StoreError::Unavailable("statement timeout".to_owned()),
        code if ["08", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            StoreError::Unavailable(format!("SQLSTATE {code}"))
        }
        code if code.starts_with("23") => {
            let name = error
                .extras
                .into_iter()
                .find(|(key, _)| key == "constraint")
                .map(|(_, name)| name);
            StoreError::Constraint(name.unwrap_or_else(|| "without a name".to_owned()))
        }
        code => StoreError::Mistake(format!("SQLSTATE {code}: {}", error.message)),
    }
}
