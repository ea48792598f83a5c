//! An admin's connection, and running statements that the server itself has put together.

use crate::cli::AdminArgs;
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};
use tracing::debug;

/// Where each service's tables live.
pub(crate) struct Databases {
    common: String,
    own: BTreeMap<String, String>,
}

impl Databases {
    pub(crate) fn new(args: AdminArgs) -> Self {
        Self {
            common: args.database_url,
            own: args.service_database_url.into_iter().collect(),
        }
    }

    pub(crate) fn common(&self) -> &str {
        &self.common
    }

    pub(crate) fn of(&self, service: &str) -> &str {
        self.own.get(service).unwrap_or(&self.common)
    }

    /// Services that are said to have a database of their own.
    pub(crate) fn moved(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str)
    }
}

/// Connects within 10 s.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    // The address may hold a password: it is not repeated.
    let mut config: tokio_postgres::Config = url
        .parse()
        .map_err(|error| anyhow!("the database url cannot be read: {error}"))?;
    config
        .application_name("host-bridge")
        .connect_timeout(Duration::from_secs(10));
    let (client, connection) = config
        .connect(NoTls)
        .await
        .map_err(explained)
        .context("cannot connect to Postgres")?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "connection to Postgres ended");
        }
    });
    Ok(client)
}

/// The server's own words, where there are some.
pub(crate) fn explained(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(answer) => anyhow!("{} ({})", answer.message(), answer.code().code()),
        None => error.into(),
    }
}

/// Asks the server for statements (one text column, in order, nulls skipped) and runs them. Names and literals are quoted
/// by `format` on the server, so nothing that was passed as a parameter can break out of its place.
pub(crate) async fn run_generated(
    client: &Client,
    generator: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<(), tokio_postgres::Error> {
    for row in client.query(generator, parameters).await? {
        if let Some(statement) = row.try_get::<_, Option<String>>(0)? {
            client.batch_execute(&statement).await?;
        }
    }
    Ok(())
}
