//! A database of the test's own with the tables of one service, and the sessions that meet in it.

use crate::native::{Asked, Broken, Native, connect};
use futures::future::{Either, LocalBoxFuture, select};
use futures::{FutureExt as _, pin_mut};
use serde_json::Value;
use service::Database;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio_postgres::Client;
use uuid::Uuid;

/// Far longer than anything should take; what is right never waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Ground {
    pub(crate) first: Rc<Native>,
    pub(crate) second: Rc<Native>,
    /// Stops at the gate once its statement has its snapshot.
    pub(crate) stalled: Rc<Native>,
    pub(crate) gate: Rc<Native>,
    /// Looks on.
    onlooker: Client,
    pub(crate) asked: Asked,
    admin: Client,
    name: String,
}

/// What a call does until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    ForTheOther,
    ForNobody,
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Ground {
    /// A database with the tables of the service whose schema this is.
    pub(crate) async fn lay(schema: &str, broken: Option<Broken>) -> Self {
        let url = std::env::var("SHOP_TEST_POSTGRES")
            .expect("SHOP_TEST_POSTGRES is not set: run this test with `cargo xtask test`");
        let name = format!("statements_{}", Uuid::now_v7().simple());
        let admin = connect(&url).await;
        admin
            .batch_execute(&format!("create database {name}"))
            .await
            .unwrap();
        let url = in_database(&url, &name);
        let onlooker = connect(&url).await;
        let path = format!("set search_path to {schema}, pg_catalog");
        onlooker
            .batch_execute(include_str!("sql/stage.sql"))
            .await
            .unwrap();
        onlooker
            .batch_execute(&format!("create schema {schema}; {path}"))
            .await
            .unwrap();
        for migration in migrations(schema) {
            onlooker.batch_execute(&migration).await.unwrap();
        }
        for row in onlooker
            .query(include_str!("sql/stall.sql"), &[&schema])
            .await
            .unwrap()
        {
            onlooker.batch_execute(row.get(0)).await.unwrap();
        }
        let asked = Asked::default();
        let session = |setup: String| {
            let (url, asked) = (url.clone(), asked.clone());
            async move { Native::open(&url, &setup, asked, broken).await }
        };
        let stalls = format!("set search_path to stage, {schema}, pg_catalog; set stage.stalls to yes");
        Self {
            first: session(path.clone()).await,
            second: session(path.clone()).await,
            stalled: session(stalls).await,
            gate: session(path).await,
            onlooker,
            asked,
            admin,
            name,
        }
    }

    /// Removes the database.
    pub(crate) async fn clear(self) {
        let drop = format!("drop database {} with (force)", self.name);
        self.admin.batch_execute(&drop).await.unwrap();
    }

    pub(crate) fn first(&self) -> Database {
        Database::over(self.first.clone())
    }

    pub(crate) fn second(&self) -> Database {
        Database::over(self.second.clone())
    }

    pub(crate) fn stalled(&self) -> Database {
        Database::over(self.stalled.clone())
    }

    /// Empties the tables.
    pub(crate) async fn empty(&self, tables: &[&str]) {
        let statements: Vec<String> = tables
            .iter()
            .map(|table| format!("delete from {table}"))
            .collect();
        self.onlooker.batch_execute(&statements.join("; ")).await.unwrap();
    }

    /// Has all idempotency keys be a day older.
    pub(crate) async fn pass_a_day(&self) {
        let older = "update idempotency_keys set created_at = created_at - interval '24 hours'";
        let exists = "select to_regclass('idempotency_keys') is not null";
        if self.onlooker.query_one(exists, &[]).await.unwrap().get(0) {
            self.onlooker.batch_execute(older).await.unwrap();
        }
    }

    /// All that is in the tables.
    pub(crate) async fn tables(&self, of_the_service: &str) -> Value {
        let statement = format!(
            "select ({of_the_service}) || ({})",
            include_str!("sql/messages.sql")
        );
        self.onlooker.query_one(&statement, &[]).await.unwrap().get(0)
    }

    /// The first session begins a transaction.
    pub(crate) async fn begin(&self) {
        self.first.client.batch_execute("begin").await.unwrap();
    }

    /// And ends it.
    pub(crate) async fn end(&self, commits: bool) {
        let end = if commits { "commit" } else { "rollback" };
        self.first.client.batch_execute(end).await.unwrap();
    }

    pub(crate) async fn close_the_gate(&self) {
        self.gate
            .client
            .batch_execute("select pg_advisory_lock(4711, 1)")
            .await
            .unwrap();
    }

    pub(crate) async fn open_the_gate(&self) {
        self.gate
            .client
            .batch_execute("select pg_advisory_unlock(4711, 1)")
            .await
            .unwrap();
    }

    /// Goes on with a call until it waits for this session, or is done. Gives the rest of it.
    pub(crate) async fn until_it_waits<'a, T: 'a>(
        &self,
        call: impl Future<Output = T> + 'a,
        other: &Native,
    ) -> (Waits, LocalBoxFuture<'a, T>) {
        let mut call = call.boxed_local();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let waits = self.somebody_waits_for(other.pid);
            pin_mut!(waits);
            match select(call, waits).await {
                Either::Left((value, _)) => {
                    return (Waits::ForNobody, std::future::ready(value).boxed_local());
                }
                Either::Right((true, rest)) => return (Waits::ForTheOther, rest),
                Either::Right((false, rest)) => call = rest,
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "it neither ends nor waits"
            );
        }
    }

    async fn somebody_waits_for(&self, pid: i32) -> bool {
        let sql = "
            select exists (
                select from pg_stat_activity
                where wait_event_type = 'Lock' and $1::int4 = any (pg_blocking_pids(pid))
            )";
        self.onlooker.query_one(sql, &[&pid]).await.unwrap().get(0)
    }
}

/// The migrations of a schema, the first one first.
fn migrations(schema: &str) -> Vec<String> {
    let folder = root().join("migrations").join(schema);
    let mut files: Vec<(u32, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let number = name.trim_start_matches('V').split("__").next().unwrap();
            (number.parse().unwrap(), path)
        })
        .collect();
    files.sort();
    let text = |(_, path): (u32, PathBuf)| std::fs::read_to_string(path).unwrap();
    files.into_iter().map(text).collect()
}

fn in_database(url: &str, name: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let authority = base.find("://").map_or(0, |start| start + 3);
    let end = base[authority..]
        .find('/')
        .map_or(base.len(), |end| authority + end);
    format!("{}/{name}{query}", &base[..end])
}
