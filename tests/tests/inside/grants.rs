//! Least privilege: what each login may do in the database, and whom each component may reach and what it is told.
//! That the host keeps a component to its grants is shown with guests that try (`tests/tests/guests`).

use crate::alone;
use anyhow::{Context, Result, ensure};
use shop_tests::Shop;
use shop_tests::environment::root;
use shop_tests::shop::connect;
use std::collections::BTreeSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const SERVICES: [&str; 6] = [
    "auth",
    "catalog",
    "ordering",
    "payment",
    "payment_provider",
    "delivery",
];

/// The login of the bridge, which has a schema of its own as well.
const BRIDGE: &str = "bridge";

/// What the bridge may do to a table of the services whose events it carries: to carry the outbox, to prune, and to show
/// what a service says of itself.
const OF_THE_BRIDGE: [(&str, &[&str]); 4] = [
    ("outbox_messages", &["select", "update", "delete"]),
    ("inbox", &["select", "delete"]),
    ("idempotency_keys", &["select", "delete"]),
    ("gauges", &["select"]),
];

/// The services that have an outbox or a queue.
const OF_EVENTS: [&str; 4] = ["catalog", "ordering", "payment", "delivery"];

/// What nobody may do in a database who has a schema there and nothing else.
const BEYOND: [&str; 16] = [
    "create table public.mine (id int)",
    "create temporary table mine (id int)",
    "create schema mine",
    "create role mine",
    "create database mine",
    "alter system set fsync = off",
    "set role pg_read_server_files",
    "select pg_read_file('/etc/passwd')",
    "select pg_ls_dir('.')",
    "select lo_import('/etc/passwd')",
    "copy (select 1) to '/tmp/mine'",
    "copy (select 1) to program 'true'",
    "copy pg_catalog.pg_class from program 'true'",
    "select * from pg_authid",
    "select * from pg_shadow",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user",
];

struct Table {
    schema: String,
    name: String,
    /// Any of its columns.
    column: String,
    /// A view of tables, which can only be read.
    is_view: bool,
}

async fn tables(owner: &Client) -> Result<Vec<Table>> {
    let query =
        "select table_schema::text, table_name::text, min(column_name::text), bool_or(table_type = 'VIEW')
        from information_schema.columns
        join information_schema.tables using (table_schema, table_name)
        where table_schema not in ('pg_catalog', 'information_schema')
        group by table_schema, table_name";
    let table = |row: &tokio_postgres::Row| Table {
        schema: row.get(0),
        name: row.get(1),
        column: row.get(2),
        is_view: row.get(3),
    };
    let tables: Vec<Table> = owner.query(query, &[]).await?.iter().map(table).collect();
    ensure!(tables.len() > 20, "only {} tables", tables.len());
    Ok(tables)
}

impl Table {
    /// One statement for each thing that can be done to it.
    fn acts(&self) -> Vec<(&'static str, String)> {
        let Self {
            schema, name, column, ..
        } = self;
        let select = ("select", format!("select * from {schema}.{name} limit 0"));
        if self.is_view {
            return vec![select, ("drop", format!("drop view {schema}.{name}"))];
        }
        vec![
            select,
            ("insert", format!("insert into {schema}.{name} default values")),
            (
                "update",
                format!("update {schema}.{name} set \"{column}\" = default where false"),
            ),
            ("delete", format!("delete from {schema}.{name}")),
            ("truncate", format!("truncate {schema}.{name}")),
            ("drop", format!("drop table {schema}.{name}")),
        ]
    }

    /// What this login may do to it though it is another's.
    fn allowed(&self, login: &str) -> &'static [&'static str] {
        if login != BRIDGE || !OF_EVENTS.contains(&self.schema.as_str()) {
            return &[];
        }
        let known = OF_THE_BRIDGE.iter().find(|(name, _)| *name == self.name);
        known.map_or(&[], |(_, acts)| acts)
    }
}

/// What comes of `statement`, which leaves nothing behind.
async fn attempt(client: &Client, statement: &str) -> Result<Option<SqlState>> {
    client.batch_execute("begin").await?;
    let outcome = client.batch_execute(statement).await;
    client.batch_execute("rollback").await?;
    Ok(outcome.err().and_then(|error| error.code().cloned()))
}

fn ensure_refused(login: &str, what: &str, outcome: Option<SqlState>) -> Result<()> {
    ensure!(
        outcome == Some(SqlState::INSUFFICIENT_PRIVILEGE),
        "{login}: {what}: {}",
        outcome.map_or("done".to_owned(), |code| format!("{code:?}"))
    );
    Ok(())
}

#[tokio::test]
async fn no_login_reads_or_writes_another_services_tables() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::prepare().await?;
    let tables = tables(&shop.database().await?).await?;
    for login in SERVICES.into_iter().chain([BRIDGE]) {
        let client = connect(&shop.login_url(login)).await?;
        let (mut own, mut allowed) = (0, BTreeSet::new());
        for table in &tables {
            for (act, statement) in table.acts() {
                let outcome = attempt(&client, &statement).await?;
                if table.schema == login {
                    let refused = outcome == Some(SqlState::INSUFFICIENT_PRIVILEGE);
                    ensure!(!refused, "{login}: {statement}: its own table");
                    own += 1;
                } else if table.allowed(login).contains(&act) {
                    ensure!(outcome.is_none(), "{login}: {statement}: {outcome:?}");
                    allowed.insert((table.name.as_str(), act));
                } else {
                    ensure_refused(login, &statement, outcome)?;
                }
            }
            let child = format!("create table {}.mine (id int)", table.schema);
            if table.schema != login {
                ensure_refused(login, &child, attempt(&client, &child).await?)?;
            }
        }
        ensure!(own > 0, "{login} has no table");
        let expected = if login == BRIDGE { 8 } else { 0 };
        ensure!(allowed.len() == expected, "{login} was let into {allowed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn no_login_gets_beyond_its_schema() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::prepare().await?;
    let owner = shop.database().await?;
    let logins: Vec<&str> = SERVICES.into_iter().chain([BRIDGE]).collect();
    for login in &logins {
        let client = connect(&shop.login_url(login)).await?;
        let others = logins.iter().filter(|other| *other != login);
        let impersonations = others.map(|other| format!("set role shop_{other}"));
        for statement in BEYOND.map(str::to_owned).into_iter().chain(impersonations) {
            let outcome = client.batch_execute(&statement).await;
            let code = outcome.err().and_then(|error| error.code().cloned());
            ensure_refused(login, &statement, code)?;
        }
        // What others are asking the server, values in it included, is theirs.
        let overheard = "select count(*) from pg_stat_activity
            where usename is distinct from current_user and query not in ('', '<insufficient privilege>')";
        let overheard: i64 = client.query_one(overheard, &[]).await?.try_get(0)?;
        ensure!(overheard == 0, "{login} reads {overheard} statements of others");
    }
    let names: Vec<String> = logins.iter().map(|login| format!("shop_{login}")).collect();
    for query in [
        "select rolname::text from pg_roles
            where rolname = any($1) and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)",
        "select rolname::text from pg_auth_members join pg_roles on pg_roles.oid = member where rolname = any($1)",
        // Whoever calls such a function is its owner meanwhile.
        "select proname::text from pg_proc where prosecdef and pg_get_userbyid(proowner)::text = any($1)",
    ] {
        let found = owner.query(query, &[&names]).await?;
        let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
        ensure!(found.is_empty(), "{found:?}: {query}");
    }
    Ok(())
}

/// Whom each component may reach, and the secrets that it is told, by the names of the application's variables.
///
/// HS256 checks with the key that it signs with, so whoever checks tokens has it. `events_key` is had by whom the
/// bridge brings events.
const NEEDS: [(&str, &[&str], &[&str]); 6] = [
    (
        "gateway",
        &[
            "auth_url",
            "catalog_url",
            "ordering_url",
            "payment_url",
            "delivery_url",
            "redis",
        ],
        &["jwt_verification_keys", "redis_credentials"],
    ),
    (
        "auth",
        &["auth_postgres"],
        &[
            "auth_postgres_password",
            "jwt_signing_key",
            "jwt_verification_keys",
        ],
    ),
    (
        "catalog",
        &["catalog_postgres", "redis"],
        &[
            "catalog_postgres_password",
            "jwt_verification_keys",
            "events_key",
            "redis_credentials",
        ],
    ),
    (
        "ordering",
        &["ordering_postgres"],
        &[
            "ordering_postgres_password",
            "jwt_verification_keys",
            "events_key",
        ],
    ),
    (
        "payment",
        &["payment_postgres"],
        &[
            "payment_postgres_password",
            "payment_provider_postgres_password",
            "jwt_verification_keys",
            "events_key",
        ],
    ),
    (
        "delivery",
        &["delivery_postgres"],
        &[
            "delivery_postgres_password",
            "jwt_verification_keys",
            "events_key",
        ],
    ),
];

/// The variables that a template names.
fn named(template: &str) -> impl Iterator<Item = &str> {
    let parts = template.split("{{").skip(1);
    parts.filter_map(|part| Some(part.split_once("}}")?.0.trim()))
}

#[test]
fn each_component_reaches_and_is_told_what_it_needs_and_nothing_else() -> Result<()> {
    let manifest: toml::Table = std::fs::read_to_string(root().join("spin.toml"))?.parse()?;
    let variables = manifest["variables"].as_table().context("no variables")?;
    let is_secret = |name: &&str| {
        let secret = variables.get(*name).and_then(|variable| variable.get("secret"));
        secret.and_then(toml::Value::as_bool) == Some(true)
    };
    let components = manifest["component"].as_table().context("no components")?;
    let known: BTreeSet<&str> = NEEDS.iter().map(|(component, ..)| *component).collect();
    let served: BTreeSet<&str> = components.keys().map(String::as_str).collect();
    assert_eq!(served, known);
    let mut told = BTreeSet::new();
    for (component, hosts, secrets) in NEEDS {
        let entry = &components[component];
        let granted = entry["allowed_outbound_hosts"].as_array().context("no grants")?;
        let granted: Vec<&str> = granted.iter().filter_map(toml::Value::as_str).collect();
        let expected: Vec<String> = hosts.iter().map(|host| format!("{{{{ {host} }}}}")).collect();
        assert_eq!(granted, expected, "{component}");

        let templates = entry["variables"].as_table().context("no variables")?;
        let templates = templates.values().filter_map(toml::Value::as_str);
        let knows: BTreeSet<&str> = templates.flat_map(named).filter(is_secret).collect();
        let expected: BTreeSet<&str> = secrets.iter().copied().collect();
        assert_eq!(knows, expected, "{component}");
        told.extend(knows);

        for key in [
            "files",
            "environment",
            "key_value_stores",
            "sqlite_databases",
            "ai_models",
        ] {
            ensure!(entry.get(key).is_none(), "{component} has {key}");
        }
    }
    let secret: BTreeSet<&str> = variables.keys().map(String::as_str).filter(is_secret).collect();
    assert_eq!(told, secret, "a secret that nobody needs");
    // What opens something says so, and has no default, unless it is that nothing is locked, as a cache may be.
    for (name, variable) in variables {
        let opens = ["_password", "_key", "_keys"]
            .iter()
            .any(|end| name.ends_with(end));
        ensure!(!opens || is_secret(&name.as_str()), "{name} is no secret");
        let default = variable.get("default").and_then(toml::Value::as_str);
        let may_be_open = name == "redis_credentials" && default == Some("");
        ensure!(
            !is_secret(&name.as_str()) || default.is_none() || may_be_open,
            "{name} has a default"
        );
    }
    Ok(())
}

#[test]
fn no_migration_makes_a_user() -> Result<()> {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("migrations/auth"))? {
        let migration = std::fs::read_to_string(entry?.path())?.to_lowercase();
        ensure!(
            !migration.contains("insert into"),
            "a migration of auth inserts something"
        );
        seen += 1;
    }
    ensure!(seen > 0, "there are no migrations");
    // The demo does, and nobody gets it who does not ask for it.
    let demo = std::fs::read_to_string(root().join("demo/auth.sql"))?.to_lowercase();
    ensure!(demo.contains("insert into users"), "the demo has no users");
    Ok(())
}
