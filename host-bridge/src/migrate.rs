//! `migrate`: a login and a schema for each service, its migrations run as that login, and what the bridge may touch.
//! Everything is safe to repeat, and to run twice at the same time.

use crate::cli::Migrate;
use crate::database::{Databases, connect, explained, run_generated};
use crate::known::Secrets;
use anyhow::{Context, bail, ensure};
use postgres_protocol::password::scram_sha_256;
use refinery::Runner;
use relay::Topology;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tracing::info;

/// The service that is the bridge itself.
const BRIDGE: &str = "bridge";
/// One migration at a time in a database: `shop` and `migr`, as bytes.
const LOCK: i64 = 0x7368_6f70_6d69_6772;
/// Logins belong to the whole server, so another database's migration may be at the same one.
const TRIES: u32 = 10;

pub(crate) async fn migrate(args: Migrate, secrets: Secrets) -> anyhow::Result<()> {
    let topology = Topology::load(&args.topology)?;
    let services = folders(&args.migrations)?;
    let passwords = passwords(args.password, args.passwords_file.as_deref())?;
    let databases = Databases::new(args.databases);
    let unknown = passwords
        .keys()
        .map(String::as_str)
        .chain(databases.moved())
        .chain(topology.services());
    for service in unknown {
        ensure!(
            services.contains_key(service),
            "{service:?} has no folder in {}",
            args.migrations.display()
        );
    }
    for (service, password) in &passwords {
        secrets.check_new(&format!("the password of {service}"), password)?;
    }
    let urls: BTreeSet<&str> = services.keys().map(|service| databases.of(service)).collect();
    for url in &urls {
        secrets.check_postgres("a database url", url)?;
    }
    for url in urls {
        let here = services
            .iter()
            .filter(|(service, _)| databases.of(service) == url);
        let plan = Plan {
            url,
            services: here.collect(),
            passwords: &passwords,
            topology: &topology,
            holds_bridge: url == databases.common(),
        };
        plan.carry_out().await?;
    }
    Ok(())
}

/// What is to be done in one database.
struct Plan<'a> {
    url: &'a str,
    services: Vec<(&'a String, &'a PathBuf)>,
    passwords: &'a BTreeMap<String, String>,
    topology: &'a Topology,
    holds_bridge: bool,
}

impl Plan<'_> {
    async fn carry_out(&self) -> anyhow::Result<()> {
        let client = connect(self.url).await?;
        // Held until the session ends, however that comes about.
        client
            .execute("select pg_advisory_lock($1)", &[&LOCK])
            .await
            .map_err(explained)?;
        run_generated(&client, include_str!("sql/database.sql"), &[])
            .await
            .map_err(explained)?;
        if !self.holds_bridge {
            self.prepare_login(&client, BRIDGE, None).await?;
        }
        for (service, folder) in &self.services {
            self.prepare_login(&client, service, Some(service)).await?;
            let applied = self
                .run_migrations(service, folder)
                .await
                .with_context(|| format!("migrations of {service}"))?;
            info!(service, applied, "migrated");
        }
        for (service, _) in &self.services {
            self.grant(&client, service)
                .await
                .with_context(|| format!("grants of {service}"))?;
        }
        Ok(())
    }

    async fn prepare_login(
        &self,
        client: &Client,
        service: &str,
        schema: Option<&str>,
    ) -> anyhow::Result<()> {
        // What is sent, and perhaps logged by the server, is not the password but what verifies it.
        let verifier = self
            .passwords
            .get(service)
            .map(|password| scram_sha_256(password.as_bytes()));
        let mut tries = 0;
        loop {
            let prepared = run_generated(
                client,
                include_str!("sql/login.sql"),
                &[&login(service), &schema, &verifier],
            )
            .await;
            tries += 1;
            match prepared {
                Err(error) if is_race(&error) && tries < TRIES => {}
                result => {
                    return result
                        .map_err(explained)
                        .with_context(|| format!("login of {service}"));
                }
            }
        }
    }

    /// Returns how many were applied. In a session of its own, which acts as the service.
    async fn run_migrations(&self, service: &str, folder: &Path) -> anyhow::Result<usize> {
        let migrations = refinery::load_sql_migrations(folder)?;
        let mut client = connect(self.url).await?;
        run_generated(
            &client,
            include_str!("sql/act_as.sql"),
            &[&login(service), &service],
        )
        .await
        .map_err(explained)?;
        let report = Runner::new(&migrations)
            .run_async(&mut client)
            .await
            .map_err(failed_migration)?;
        Ok(report.applied_migrations().len())
    }

    async fn grant(&self, client: &Client, service: &str) -> anyhow::Result<()> {
        if self.topology.outboxes.iter().any(|outbox| outbox == service) {
            let lacking: Option<String> = client
                .query_one(include_str!("sql/lacking.sql"), &[&service])
                .await
                .map_err(explained)?
                .try_get(0)?;
            if let Some(lacking) = lacking {
                bail!("the topology reads its outbox, but it has no {lacking}");
            }
        }
        if self.topology.services().contains(service) {
            let generator = include_str!("sql/grants.sql");
            run_generated(client, generator, &[&service, &login(BRIDGE)])
                .await
                .map_err(explained)?;
        }
        Ok(())
    }
}

pub(crate) fn login(service: &str) -> String {
    format!("shop_{service}")
}

/// Two sessions at the same login: the later one looks again.
fn is_race(error: &tokio_postgres::Error) -> bool {
    let concurrent = error
        .as_db_error()
        .is_some_and(|answer| answer.message().contains("concurrently updated"));
    concurrent
        || [SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION]
            .iter()
            .any(|state| error.code() == Some(state))
}

fn failed_migration(error: refinery::Error) -> anyhow::Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    while let Some(cause) = source {
        let answer = cause
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(tokio_postgres::Error::as_db_error);
        if let Some(answer) = answer {
            return anyhow::anyhow!("{error}: {} ({})", answer.message(), answer.code().code());
        }
        source = cause.source();
    }
    error.into()
}

/// The services, by the names of their folders.
fn folders(migrations: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let read = || format!("migrations {}", migrations.display());
    let mut folders = BTreeMap::new();
    for entry in std::fs::read_dir(migrations).with_context(read)? {
        let entry = entry.with_context(read)?;
        if !entry.file_type().with_context(read)?.is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap_or_default();
        let holds = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        if name.is_empty() || name.len() > 48 || !name.chars().all(holds) {
            bail!(
                "{}: the folder {name:?} does not have the name of a service",
                migrations.display()
            );
        }
        folders.insert(name, entry.path());
    }
    ensure!(
        folders.contains_key(BRIDGE),
        "{}: there is no folder {BRIDGE:?}",
        migrations.display()
    );
    Ok(folders)
}

fn passwords(given: Vec<(String, String)>, file: Option<&Path>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut passwords: BTreeMap<String, String> = match file {
        None => BTreeMap::new(),
        Some(file) => {
            let named = || format!("passwords {}", file.display());
            let text = std::fs::read_to_string(file).with_context(named)?;
            // The parser's own message would quote the line, password and all.
            toml::from_str(&text)
                .map_err(|_| anyhow::anyhow!("not a table of strings"))
                .with_context(named)?
        }
    };
    passwords.extend(given);
    Ok(passwords)
}
