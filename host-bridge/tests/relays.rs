//! Real relay processes, paused and killed: each key's order holds, nothing is lost, nothing dies of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[path = "../../crates/relay/tests/support/mod.rs"]
mod support;

use crash_points::Point;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::process::Stdio;
use std::time::Duration;
use support::{KEY, PATIENCE, Service, Stage, Wiretap, assert_in_order, eventually};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// A stage whose topology is in a file, and the processes on it.
struct Processes {
    stage: Stage,
    service: Service,
    topology: std::path::PathBuf,
}

impl Processes {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let topology = std::env::temp_dir().join(format!("{}.toml", stage.topology.exchange));
        std::fs::write(&topology, &stage.topology_text).unwrap();
        Self {
            stage,
            service: Service::willing().await,
            topology,
        }
    }

    fn relay(&self, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host-bridge"));
        command
            .env_clear()
            .args([
                "--log-level",
                "warn",
                "relay",
                "--metrics-listen",
                "127.0.0.1:0",
                "--topology",
            ])
            .arg(&self.topology)
            .args(more)
            .env("SHOP_DATABASE_URL", &self.stage.database_url)
            .env("SHOP_AMQP_URL", &self.stage.amqp_url)
            .env("SHOP_EVENTS_URL", self.service.url())
            .env("SHOP_EVENTS_KEY", KEY)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// Distinct events that the service has seen.
    fn seen(&self) -> usize {
        self.service
            .batches()
            .iter()
            .flatten()
            .map(|event| event["id"].to_string())
            .collect::<HashSet<_>>()
            .len()
    }

    async fn dead(&self) -> i64 {
        let sql = "select count(*) from bridge.dead_letters";
        self.stage.database.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn clear(self) {
        std::fs::remove_file(&self.topology).unwrap();
        self.stage.clear().await;
    }
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

async fn end(mut child: Child) {
    signal(&child, Signal::TERM);
    let status = timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0));
}

fn keys() -> Vec<String> {
    (0..40).map(|key| format!("key{key}")).collect()
}

#[tokio::test]
async fn when_a_relay_is_paused_another_takes_over_and_each_keys_order_holds() {
    let processes = Processes::new().await;
    let stage = &processes.stage;
    let mut tap = Wiretap::on(stage).await;
    let first = processes.relay(&[]);
    let second = processes.relay(&[]);
    let keys = keys();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut written = 0;
    let relays = "
        select count(distinct pid) from pg_locks
        where locktype = 'advisory' and objid < 64 and objsubid = 2 and granted
        and database = (select oid from pg_database where datname = current_database())";
    eventually("both publish", async || {
        stage
            .database
            .query_one(relays, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 2
    })
    .await;
    stage.write(&keys).await;
    written += 40;
    stage.until("processed_at is not null", written).await;

    // Rows keep coming while it is paused: some are in its memory, some in its windows.
    let paused = Instant::now();
    for round in 0..30 {
        stage.write(&keys).await;
        written += 40;
        if round == 3 {
            signal(&first, Signal::STOP);
        }
    }
    stage.until("processed_at is not null", written).await;
    assert!(
        paused.elapsed() < Duration::from_secs(15),
        "taken over after {:?}",
        paused.elapsed()
    );
    while paused.elapsed() < Duration::from_secs(15) {
        stage.write(&keys).await;
        written += 40;
        stage.until("processed_at is not null", written).await;
    }

    // It awakens believing that it holds its partitions.
    signal(&first, Signal::CONT);
    for _ in 0..20 {
        stage.write(&keys).await;
        written += 40;
    }
    stage.until("processed_at is not null", written).await;
    let written = usize::try_from(written).unwrap();
    let mut messages = tap.take(written).await;
    eventually("all are delivered", async || processes.seen() == written).await;
    messages.extend(tap.so_far());
    let distinct: HashSet<i64> = messages.iter().map(support::Message::row).collect();
    assert_eq!(distinct.len(), written);
    assert_in_order(&messages);
    assert_eq!(processes.dead().await, 0);
    end(first).await;
    end(second).await;
    processes.clear().await;
}

#[tokio::test]
async fn a_relay_killed_between_any_two_steps_loses_nothing_and_nothing_dies_of_it() {
    let processes = Processes::new().await;
    let stage = &processes.stage;
    let mut tap = Wiretap::on(stage).await;
    let keys = keys();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut written = 0;
    for _ in 0..5 {
        for point in [
            Point::RelayPolled,
            Point::RelayPublished,
            Point::RelayConfirmed,
            Point::ShuttleRead,
        ] {
            let point = point.name();
            stage.write(&keys).await;
            written += 40;
            let mut relay = processes.relay(&["--crash-at", point]);
            let status = timeout(PATIENCE, relay.wait())
                .await
                .unwrap_or_else(|_| panic!("{point} is reached"))
                .unwrap();
            assert_eq!(status.code(), None, "{point}: killed");
        }
    }
    let last = processes.relay(&[]);
    stage.until("processed_at is not null", written).await;
    let written = usize::try_from(written).unwrap();
    eventually("all are delivered", async || processes.seen() == written).await;
    let mut messages = tap.take(written).await;
    messages.extend(tap.so_far());
    assert_in_order(&messages);
    assert_eq!(stage.count("attempts > 0").await, 0);
    assert_eq!(processes.dead().await, 0);
    end(last).await;
    processes.clear().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let processes = Processes::new().await;
    // A service that takes a batch and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut relay = processes.relay(&["--drain-timeout", "600", "--events-url", &url]);
    processes.stage.write(&["a"]).await;
    let (mut connection, _) = timeout(PATIENCE, silent.accept())
        .await
        .expect("a batch comes")
        .unwrap();
    tokio::io::AsyncReadExt::read_u8(&mut connection).await.unwrap();
    signal(&relay, Signal::TERM);
    signal(&relay, Signal::INT);
    let status = timeout(PATIENCE, relay.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(1));
    processes.clear().await;
}
