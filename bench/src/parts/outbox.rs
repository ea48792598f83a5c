//! The relay's poll: a few rows that are due, alone in their table and beside very many that were processed.

use super::stage::drop_database;
use crate::pace::Pace;
use crate::report::{Section, Table, verdict};
use crate::statistics::median;
use anyhow::{Context as _, Result, ensure};
use shop_tests::Shop;
use std::time::{Instant, SystemTime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

const POLL: &str = include_str!("../../../crates/relay/src/outbox/sql/poll.sql");

/// What the relay asks of its session.
const SESSION: &str = "set enable_seqscan = off; set jit = off";

/// Rows that are due in both tables.
const DUE: u64 = 10;

/// How much longer the poll may take beside processed rows.
const AIM: f64 = 1.2;

/// Rows that are written and then marked at a time.
const BATCH: u64 = 100_000;

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let shop = Shop::prepare().await?;
    let client = shop.database().await?;
    client.batch_execute(SESSION).await?;
    for schema in ["bench_empty", "bench_full"] {
        let table = format!(
            "create schema {schema}; create table {schema}.outbox_messages (like ordering.outbox_messages including all)"
        );
        client.batch_execute(&table).await?;
    }
    fill(&client, "bench_full", pace.processed_rows).await?;
    for schema in ["bench_empty", "bench_full"] {
        insert(&client, schema, DUE).await?;
        client
            .batch_execute(&format!("vacuum analyze {schema}.outbox_messages"))
            .await?;
    }
    client.batch_execute("checkpoint").await?;

    let mut empty = Polls::prepare(&client, "bench_empty").await?;
    let mut full = Polls::prepare(&client, "bench_full").await?;
    for _ in 0..pace.polls {
        empty.poll(&client).await?;
        full.poll(&client).await?;
    }
    let table = tabulate(&empty, &full);
    drop(client);
    drop_database(&shop).await?;
    Ok(Section {
        text: format!(
            "`poll.sql` with {DUE} rows due, in a table of nothing else and in one that {} rows went through before \
             (written, marked as processed, vacuumed): medians of {} polls each, in turns. *Seen by the relay* \
             includes the way to Postgres and back, *inside Postgres* is what `explain analyze` says of execution.",
            pace.processed_rows, pace.polls
        ),
        tables: vec![table],
    })
}

/// Writes rows and marks them as processed, as their life goes.
async fn fill(client: &Client, schema: &str, rows: u64) -> Result<()> {
    let mark = format!("update {schema}.outbox_messages set processed_at = now() where processed_at is null");
    let mut left = rows;
    while left > 0 {
        let batch = left.min(BATCH);
        insert(client, schema, batch).await?;
        client.execute(&mark, &[]).await?;
        left -= batch;
    }
    Ok(())
}

async fn insert(client: &Client, schema: &str, rows: u64) -> Result<()> {
    let statement = format!(
        "insert into {schema}.outbox_messages (
            event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at
        )
        select
            gen_random_uuid(), 'OrderCreated', 'order.created', id::text, id,
            jsonb_build_object('specversion', '1.0', 'type', 'OrderCreated', 'source', 'ordering', 'subject', id), now()
        from (select gen_random_uuid() as id from generate_series(1, {rows})) as drawn"
    );
    client.execute(&statement, &[]).await?;
    Ok(())
}

/// The polls of one table.
struct Polls {
    poll: Statement,
    explain: Statement,
    /// In milliseconds.
    seen: Vec<f64>,
    inside: Vec<f64>,
}

impl Polls {
    async fn prepare(client: &Client, schema: &str) -> Result<Self> {
        let sql = POLL.replace("{schema}", schema);
        let explain = format!("explain (analyze, timing off, format json) {sql}");
        Ok(Self {
            poll: client.prepare(&sql).await?,
            explain: client.prepare(&explain).await?,
            seen: Vec::new(),
            inside: Vec::new(),
        })
    }

    /// As a relay asks that holds every partition, has nothing in flight and begins at the very start.
    async fn poll(&mut self, client: &Client) -> Result<()> {
        let (ours, in_flight): (Vec<i32>, Vec<i64>) = ((0..64).collect(), Vec::new());
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &256_i64,
            &8_388_608_i64,
            &1_048_574_i32,
            &true,
            &ours,
            &in_flight,
            &SystemTime::UNIX_EPOCH,
            &0_i64,
        ];
        let started = Instant::now();
        let rows = client.query(&self.poll, &parameters).await?;
        self.seen.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(rows.len() as u64 == DUE, "the poll gives {} rows", rows.len());
        let plan: serde_json::Value = client.query_one(&self.explain, &parameters).await?.try_get(0)?;
        let time = plan[0]["Execution Time"].as_f64();
        self.inside.push(time.context("explain tells no time")?);
        Ok(())
    }
}

fn tabulate(empty: &Polls, full: &Polls) -> Table {
    let mut table = Table::new(&[
        "",
        "alone, ms",
        "beside processed rows, ms",
        "ratio",
        "aim",
        "reached",
    ]);
    for (name, alone, beside) in [
        ("seen by the relay", &empty.seen, &full.seen),
        ("inside Postgres", &empty.inside, &full.inside),
    ] {
        let (alone, beside) = (median(alone), median(beside));
        let ratio = beside / alone;
        table.row([
            name.to_owned(),
            format!("{alone:.3}"),
            format!("{beside:.3}"),
            format!("**{ratio:.2}**"),
            format!("≤ {AIM}"),
            verdict(ratio <= AIM).to_owned(),
        ]);
    }
    table
}
