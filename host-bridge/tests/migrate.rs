//! `migrate` and `seed` against a real Postgres: repeatable, safe when two run at once, and each login shut out from
//! everything that is not its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[path = "../../crates/relay/tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Output;
use tokio::process::Command;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

/// Two services of their own, for logins are shared by all databases of a server.
struct Project {
    folder: PathBuf,
    one: String,
    two: String,
    /// Not there unless a test says so.
    three: String,
    database: String,
    url: String,
    admin: Client,
}

impl Project {
    async fn new() -> Self {
        let unique = Uuid::now_v7().simple().to_string();
        let folder = std::env::temp_dir().join(format!("host-bridge-{unique}"));
        let (one, two) = (format!("one_{}", &unique[16..]), format!("two_{}", &unique[16..]));
        let database = format!("migrate_{unique}");
        let admin_url = support::address("SHOP_TEST_POSTGRES");
        let admin = support::connect(&admin_url).await;
        admin
            .batch_execute(&format!("create database {database}"))
            .await
            .unwrap();
        let url = support::in_database(&admin_url, &database);
        let project = Self {
            folder,
            one,
            two,
            three: format!("three_{}", &unique[16..]),
            database,
            url,
            admin,
        };
        project.write(&format!("migrations/{}/V1__things.sql", project.one), OUTBOX);
        project.write(&format!("migrations/{}/V1__things.sql", project.two), OUTBOX);
        project.write(
            "migrations/bridge/V1__letters.sql",
            "create table letters (id int)",
        );
        let topology = format!(
            "exchange = 'e'\ndead_letters = 'd'\noutboxes = ['{}']",
            project.one
        );
        project.write("topology.toml", &topology);
        project.write(
            "passwords.toml",
            &format!("{} = \"it's \\\" a 'secret'\"", project.one),
        );
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self, path: &str) -> String {
        self.folder.join(path).display().to_string()
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host-bridge"));
        command
            .args(arguments)
            .env_clear()
            .env("SHOP_ADMIN_DATABASE_URL", &self.url);
        command.output().await.unwrap()
    }

    async fn migrate(&self) -> Output {
        let (migrations, topology) = (self.path("migrations"), self.path("topology.toml"));
        let passwords = self.path("passwords.toml");
        let arguments = [
            "migrate",
            "--migrations",
            &migrations,
            "--topology",
            &topology,
            "--passwords-file",
            &passwords,
        ];
        self.run(&arguments).await
    }

    /// A session that acts as a service's login.
    async fn session(&self, service: &str) -> Client {
        let client = support::connect(&self.url).await;
        client
            .batch_execute(&format!("set session authorization shop_{service}"))
            .await
            .unwrap();
        client
    }

    async fn clear(self) {
        let (one, two, three, database) = (&self.one, &self.two, &self.three, &self.database);
        self.admin
            .batch_execute(&format!("drop database {database} with (force)"))
            .await
            .unwrap();
        for service in [one, two, three] {
            self.admin
                .batch_execute(&format!("drop role if exists shop_{service}"))
                .await
                .unwrap();
        }
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

const OUTBOX: &str = "
    create table outbox_messages (id bigint primary key);
    create index outbox_messages_due on outbox_messages (id);
    create index outbox_messages_key on outbox_messages (id);
    create table inbox (event_id uuid primary key);
    create table secrets (word text);
    insert into secrets values ('mine');";

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

async fn is_refused(client: &Client, sql: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    assert_eq!(
        error.code(),
        Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        "{sql}: {error}"
    );
}

#[tokio::test]
async fn two_migrations_at_once_and_a_third_later_come_to_the_same() {
    let project = Project::new().await;
    let (first, second) = tokio::join!(project.migrate(), project.migrate());
    assert_success(&first);
    assert_success(&second);
    let third = project.migrate().await;
    assert_success(&third);
    assert!(
        stderr(&third).lines().all(|line| line.contains("\"applied\":0")),
        "{}",
        stderr(&third)
    );
    let session = support::connect(&project.url).await;
    for service in [&project.one, &project.two] {
        let history = format!("select count(*) from {service}.refinery_schema_history");
        assert_eq!(
            session.query_one(&history, &[]).await.unwrap().get::<_, i64>(0),
            1
        );
    }
    drop(session);
    project.clear().await;
}

#[tokio::test]
async fn a_login_owns_its_own_schema_and_can_touch_no_others() {
    let project = Project::new().await;
    assert_success(&project.migrate().await);
    let (one, two) = (&project.one, &project.two);
    let session = project.session(one).await;
    session
        .batch_execute(&format!(
            "create table {one}.more (id int); drop table {one}.more"
        ))
        .await
        .unwrap();
    for sql in [
        format!("select * from {two}.secrets"),
        format!("select * from {two}.outbox_messages"),
        format!("create table {two}.mine (id int)"),
        "select * from bridge.letters".to_owned(),
        "create table public.mine (id int)".to_owned(),
        "create temporary table mine (id int)".to_owned(),
        "create schema mine".to_owned(),
    ] {
        is_refused(&session, &sql).await;
    }
    let path = "select array_to_string(setconfig, ',') from pg_db_role_setting where setrole = current_user::regrole";
    let path: String = session.query_one(path, &[]).await.unwrap().get(0);
    assert_eq!(path, format!("search_path={one}"));
    drop(session);
    project.clear().await;
}

#[tokio::test]
async fn the_bridge_reaches_outboxes_and_inboxes_and_nothing_else() {
    let project = Project::new().await;
    assert_success(&project.migrate().await);
    let (one, two) = (&project.one, &project.two);
    let session = project.session("bridge").await;
    for sql in [
        format!("select * from {one}.outbox_messages; delete from {one}.outbox_messages"),
        format!("select * from {one}.inbox; delete from {one}.inbox"),
        "select * from bridge.letters".to_owned(),
    ] {
        session.batch_execute(&sql).await.unwrap();
    }
    for sql in [
        format!("insert into {one}.outbox_messages values (1)"),
        format!("select * from {one}.secrets"),
        // It is not in the topology.
        format!("select * from {two}.outbox_messages"),
    ] {
        is_refused(&session, &sql).await;
    }
    drop(session);
    project.clear().await;
}

#[tokio::test]
async fn a_password_is_set_as_given_and_never_sent_in_clear() {
    let project = Project::new().await;
    assert_success(&project.migrate().await);
    let verifier = "select rolpassword from pg_authid where rolname = $1";
    let verifier: String = project
        .admin
        .query_one(verifier, &[&format!("shop_{}", project.one)])
        .await
        .unwrap()
        .get(0);
    assert!(verifier.starts_with("SCRAM-SHA-256$"), "{verifier}");
    let without = "select rolpassword is null from pg_authid where rolname = $1";
    let without = project
        .admin
        .query_one(without, &[&format!("shop_{}", project.two)])
        .await
        .unwrap();
    assert!(without.get::<_, bool>(0));
    project.clear().await;
}

#[tokio::test]
async fn demo_data_is_loaded_as_the_service_itself() {
    let project = Project::new().await;
    assert_success(&project.migrate().await);
    project.write(
        &format!("demo/{}.sql", project.one),
        "insert into secrets values (current_user);",
    );
    let demo = project.path("demo");
    assert_success(&project.run(&["seed", "--folder", &demo]).await);
    let session = support::connect(&project.url).await;
    let words = format!(
        "select count(*) from {0}.secrets where word = 'shop_{0}'",
        project.one
    );
    assert_eq!(session.query_one(&words, &[]).await.unwrap().get::<_, i64>(0), 1);
    project.write(
        &format!("demo/{}.sql", project.one),
        "insert into secrets values ('half'); select nonsense;",
    );
    let broken = project.run(&["seed", "--folder", &demo]).await;
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        stderr(&broken).lines().count() == 1 && stderr(&broken).contains("nonsense"),
        "{}",
        stderr(&broken)
    );
    let half = format!("select count(*) from {}.secrets where word = 'half'", project.one);
    assert_eq!(session.query_one(&half, &[]).await.unwrap().get::<_, i64>(0), 0);
    drop(session);
    project.clear().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_migration_is_told_in_one_line() {
    let project = Project::new().await;
    project.write(
        &format!("migrations/{}/V2__broken.sql", project.two),
        "create tabel x (id int)",
    );
    let output = project.migrate().await;
    assert_eq!(output.status.code(), Some(1));
    let last = stderr(&output).lines().last().unwrap().to_owned();
    assert!(
        last.starts_with("host-bridge: ") && last.contains("tabel") && last.contains(&project.two),
        "{last}"
    );
    project.write("passwords.toml", "nobody = \"hunter2\"");
    let output = project.migrate().await;
    assert!(
        stderr(&output).contains("\"nobody\" has no folder"),
        "{}",
        stderr(&output)
    );
    project.write("passwords.toml", "this is not toml: hunter2");
    let output = project.migrate().await;
    assert!(!stderr(&output).contains("hunter2"), "{}", stderr(&output));
    project.write("passwords.toml", "");
    let lacking = "create table outbox_messages (id bigint primary key);
        create index outbox_messages_due on outbox_messages (id);
        create table other (id int); create index outbox_messages_key on other (id);";
    std::fs::remove_file(project.path(&format!("migrations/{}/V2__broken.sql", project.two))).unwrap();
    let topology = format!(
        "exchange = 'e'\ndead_letters = 'd'\noutboxes = ['{}', '{}']",
        project.one, project.three
    );
    project.write("topology.toml", &topology);
    project.write(&format!("migrations/{}/V1__things.sql", project.three), lacking);
    let output = project.migrate().await;
    assert_eq!(output.status.code(), Some(1));
    let last = stderr(&output).lines().last().unwrap().to_owned();
    assert!(
        last.contains(&project.three) && last.ends_with("it has no index outbox_messages_key"),
        "{last}"
    );
    assert!(Path::new(&project.path("migrations")).exists());
    project.clear().await;
}
