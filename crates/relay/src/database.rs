//! Connections to Postgres: bounded in every wait, and checked for what the outbox's promises rest on.

use crash_points::{Point, through};
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use tracing::debug;

/// The longest that connecting, or any one statement of the bridge, may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why a database cannot be used now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("{}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("Postgres did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    #[error("Postgres runs with {0}: what it acknowledges could be lost")]
    Unsafe(String),
}

impl DatabaseError {
    /// Whether waiting will not help: the server answered, and refused who or what we are.
    pub(crate) fn is_fatal(&self) -> bool {
        let state = match self {
            Self::Unsafe(_) => return true,
            Self::Silent => return false,
            Self::Postgres(error) => error.code(),
        };
        [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::INVALID_CATALOG_NAME,
        ]
        .iter()
        .any(|fatal| state == Some(fatal))
    }

    /// Whether the server found fault with a value that it was sent, rather than with itself.
    pub(crate) fn is_about_data(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let code = error.code().map_or("", SqlState::code);
        code.starts_with("22") || code.starts_with("54")
    }
}

/// One line: the server's own words where there are some, else the chain of causes.
fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(answer) = error.as_db_error() {
        return format!("Postgres: {} ({})", answer.message(), answer.code().code());
    }
    let mut text = format!("Postgres: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Awaits a statement, at most [`PATIENCE`], and has reached the point when it is done. After `Silent` the connection is
/// of no use: its answers may still come.
pub(crate) async fn within<T>(
    point: Point,
    statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, DatabaseError> {
    match timeout(PATIENCE, through(point, statement)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(DatabaseError::Silent),
    }
}

/// Connects. The session shows as `host-bridge <purpose>` in `pg_stat_activity`, and ends when the client is dropped.
pub(crate) async fn connect(config: &tokio_postgres::Config, purpose: &str) -> Result<Client, DatabaseError> {
    let mut config = config.clone();
    config
        .application_name(format!("host-bridge {purpose}"))
        .connect_timeout(Duration::from_secs(3))
        .keepalives_idle(Duration::from_secs(5))
        .tcp_user_timeout(PATIENCE);
    let (client, connection) = within(Point::DatabaseConnected, config.connect(NoTls)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "connection to Postgres ended");
        }
    });
    Ok(client)
}

/// Refuses a server that may lose what it has acknowledged (R9).
pub(crate) async fn check_durability(client: &Client) -> Result<(), DatabaseError> {
    let rows = within(
        Point::DurabilityChecked,
        client.query(include_str!("sql/durability.sql"), &[]),
    )
    .await?;
    let off: Vec<String> = rows
        .iter()
        .map(|row| format!("{} = off", row.get::<_, &str>(0)))
        .collect();
    if off.is_empty() {
        Ok(())
    } else {
        Err(DatabaseError::Unsafe(off.join(", ")))
    }
}

/// Puts the schema into a statement that was written with `{schema}` in its place. A schema cannot be a parameter;
/// the topology lets only `a-z`, `0-9` and `_` into its name.
pub(crate) fn in_schema(sql: &str, schema: &str) -> String {
    sql.replace("{schema}", &format!("\"{schema}\""))
}
