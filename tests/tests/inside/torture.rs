//! An outbox under torture: many writers whose transactions take their time, roll back, or stay open for a minute, and
//! three relays that are killed and paused at random. Every row is published, the first publications of each key in
//! order, and what a poll has to walk does not grow with what was.
//!
//! `SHOP_TORTURE_ROWS` sets how many rows, `SHOP_TORTURE_SEED` repeats the random choices.

use crate::alone;
use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer, ExchangeKind};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shop_tests::Shop;
use shop_tests::environment::variable;
use shop_tests::shop::signal;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);
const WRITERS: u64 = 16;
/// Few enough that a great many rows wait behind others of their key.
const KEYS: usize = 500;
const RELAYS: usize = 3;
/// How long one transaction is held open at least.
const HELD: Duration = Duration::from_secs(60);
/// What a relay that dies may have published and not marked: two windows of 256.
const UNMARKED: usize = 512;
const ROUTING_KEY: &str = "test.torture";

fn setting(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
        Err(_) => Ok(default),
    }
}

/// Writes rows of one key at a time, as a service does: the aggregate is locked first, so that ids follow commits.
struct Writer {
    client: tokio_postgres::Client,
    random: StdRng,
}

impl Writer {
    async fn new(shop: &Shop, seed: u64) -> Result<Self> {
        Ok(Self {
            client: shop.database().await?,
            random: StdRng::seed_from_u64(seed),
        })
    }

    /// One transaction of a few rows, open until `hold` is over; gives how many rows it committed.
    async fn write(&mut self, key: Uuid, hold: impl Future<Output = ()>, rolls_back: bool) -> Result<i64> {
        let rows = self.random.random_range(1..=8_i64);
        let transaction = self.client.transaction().await?;
        transaction
            .execute("select from torture where key = $1 for update", &[&key])
            .await?;
        let statement = "insert into ordering.outbox_messages
            (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at)
            select gen_random_uuid(), 'Test', $3, $1::uuid::text, $1, jsonb_build_object('specversion', '1.0',
                'id', gen_random_uuid(), 'source', 'test', 'type', 'Test', 'data', '{}'::jsonb), now()
            from generate_series(1, $2::bigint)";
        transaction
            .execute(statement, &[&key, &rows, &ROUTING_KEY])
            .await?;
        hold.await;
        if rolls_back {
            transaction.rollback().await?;
            return Ok(0);
        }
        transaction.commit().await?;
        Ok(rows)
    }

    /// Writes to keys at random until so many rows are committed by all writers together.
    async fn write_until(mut self, keys: Arc<Vec<Uuid>>, target: i64, written: Arc<AtomicI64>) -> Result<()> {
        while written.load(Ordering::Relaxed) < target {
            let key = keys[self.random.random_range(0..keys.len())];
            let hold = sleep(Duration::from_millis(self.random.random_range(0..10)));
            let rolls_back = self.random.random_bool(0.1);
            let rows = self.write(key, hold, rolls_back).await?;
            written.fetch_add(rows, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Hears every publication.
struct Ear {
    consumer: Consumer,
    heard: HashSet<i64>,
    last: HashMap<String, i64>,
    repeats: usize,
    _connection: Connection,
}

impl Ear {
    async fn at(shop: &Shop) -> Result<Self> {
        let connection =
            Connection::connect(&variable("SHOP_TEST_AMQP")?, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let exchange = shop.at_broker("flower_shop");
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .exchange_declare(
                exchange.clone().into(),
                ExchangeKind::Topic,
                durable,
                FieldTable::default(),
            )
            .await?;
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..Default::default()
        };
        let queue = channel
            .queue_declare("".into(), exclusive, FieldTable::default())
            .await?;
        let (name, options) = (queue.name().clone(), QueueBindOptions::default());
        channel
            .queue_bind(
                name.clone(),
                exchange.into(),
                ROUTING_KEY.into(),
                options,
                FieldTable::default(),
            )
            .await?;
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let consumer = channel
            .basic_consume(name, "ear".into(), no_ack, FieldTable::default())
            .await?;
        Ok(Self {
            consumer,
            heard: HashSet::new(),
            last: HashMap::new(),
            repeats: 0,
            _connection: connection,
        })
    }

    /// Listens until it has heard `all` rows, however many that will be, or nothing for a long time.
    async fn listen(mut self, all: Arc<AtomicI64>) -> Result<Self> {
        let mut last_heard = Instant::now();
        while i64::try_from(self.heard.len())? < all.load(Ordering::Relaxed)
            && last_heard.elapsed() < PATIENCE
        {
            // A pause, so that `all` is asked again though nothing comes.
            let next = tokio::time::timeout(Duration::from_millis(100), self.consumer.next()).await;
            if let Ok(delivery) = next {
                self.hear(&delivery.context("the ear fell off")??)?;
                last_heard = Instant::now();
            }
        }
        Ok(self)
    }

    fn hear(&mut self, delivery: &Delivery) -> Result<()> {
        let id = delivery.properties.message_id().as_ref().context("no id")?;
        let (_, row) = id.as_str().rsplit_once(':').context("no row in the id")?;
        let row: i64 = row.parse()?;
        if !self.heard.insert(row) {
            self.repeats += 1;
            return Ok(());
        }
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let key = headers.inner().get("ordering-key").context("no ordering key")?;
        let key = key.as_long_string().context("the key is no text")?.to_string();
        let before = self.last.insert(key.clone(), row);
        ensure!(
            before.is_none_or(|before| before < row),
            "{key}: {row} was first published after {before:?}"
        );
        Ok(())
    }
}

/// Kills and pauses relays at random until `stop`; gives how often, and leaves all of them running.
async fn disturb(mut shop: Shop, mut random: StdRng, stop: Arc<AtomicBool>) -> Result<(Shop, usize)> {
    let mut disturbed = 0;
    let mut kills = true;
    while !stop.load(Ordering::Relaxed) {
        let victim = random.random_range(0..RELAYS);
        if kills {
            // What is dropped is killed.
            let mut relay = shop.relays().remove(victim);
            relay.start_kill()?;
            relay.wait().await?;
            shop.start_relay(&[]).await?;
        } else {
            // Some pauses are longer than a lease lives, some are not.
            let pause = Duration::from_millis(random.random_range(200..14_000));
            signal(&shop.relays()[victim], "STOP").await?;
            sleep(pause).await;
            signal(&shop.relays()[victim], "CONT").await?;
        }
        kills = !kills;
        disturbed += 1;
        sleep(Duration::from_millis(random.random_range(200..2_000))).await;
    }
    Ok((shop, disturbed))
}

/// How many blocks a poll touches that begins `slack` before now, or at the very start.
async fn poll_walks(client: &tokio_postgres::Client, slack: Option<f64>) -> Result<u64> {
    let session = include_str!("../../../crates/relay/src/outbox/sql/session.sql");
    client.batch_execute(session).await?;
    let poll = include_str!("../../../crates/relay/src/outbox/sql/poll.sql").replace("{schema}", "ordering");
    let begin = match slack {
        Some(slack) => client
            .query_one("select now() - make_interval(secs => $1)", &[&slack])
            .await?
            .try_get(0)?,
        None => std::time::SystemTime::UNIX_EPOCH,
    };
    let (rows, bytes, body, all) = (256_i64, 8_i64 << 20, 512_i32 << 10, true);
    let (ours, in_flight, id) = (Vec::<i32>::new(), Vec::<i64>::new(), 0_i64);
    let explain = format!("explain (analyze, buffers, format json) {poll}");
    let plan = client
        .query_one(
            &explain,
            &[&rows, &bytes, &body, &all, &ours, &in_flight, &begin, &id, &rows],
        )
        .await?;
    let plan: serde_json::Value = plan.try_get(0)?;
    let blocks = |kind: &str| plan[0]["Plan"][kind].as_u64();
    let (hit, read) = (blocks("Shared Hit Blocks"), blocks("Shared Read Blocks"));
    Ok(hit.context("no count of blocks")? + read.context("no count of blocks")?)
}

/// Waits until every committed row is marked, and none was due within the slack of a poll. However many there are, they
/// must become fewer.
async fn quiet(client: &tokio_postgres::Client) -> Result<()> {
    let query = "select count(*) filter (where processed_at is null), count(*) filter (where due_at > now() - interval
        '11 seconds') from ordering.outbox_messages";
    let (mut fewest, mut end) = (i64::MAX, Instant::now() + PATIENCE);
    loop {
        let row = client.query_one(query, &[]).await?;
        let (open, recent): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if open + recent == 0 {
            return Ok(());
        }
        if open < fewest {
            (fewest, end) = (open, Instant::now() + PATIENCE);
        }
        ensure!(
            Instant::now() < end,
            "{open} rows are not published, {recent} were due of late"
        );
        // The table is large: looking all the time would be a load of its own.
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn an_outbox_under_torture_publishes_every_row_in_order_and_its_polls_stay_short() -> Result<()> {
    let _alone = alone().await;
    let rows = i64::try_from(setting("SHOP_TORTURE_ROWS", 100_000)?)?;
    let seed = setting("SHOP_TORTURE_SEED", rand::random())?;
    torture(rows, seed)
        .await
        .with_context(|| format!("SHOP_TORTURE_SEED={seed}"))
}

async fn torture(rows: i64, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut shop = Shop::prepare().await?;
    let client = shop.database().await?;
    client
        .batch_execute("create table torture (key uuid primary key)")
        .await?;
    let keys: Vec<Uuid> = (0..KEYS).map(|_| Uuid::now_v7()).collect();
    let held_key = Uuid::now_v7();
    let all: Vec<Uuid> = keys.iter().copied().chain([held_key]).collect();
    client
        .execute("insert into torture select unnest($1::uuid[])", &[&all])
        .await?;
    let at_the_start = poll_walks(&client, None).await?;

    let ear = Ear::at(&shop).await?;
    for _ in 0..RELAYS {
        shop.start_relay(&[]).await?;
    }
    let written = Arc::new(AtomicI64::new(0));
    let keys = Arc::new(keys);
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let writer = Writer::new(&shop, random.random()).await?;
        writers.spawn(writer.write_until(Arc::clone(&keys), rows, Arc::clone(&written)));
    }
    let long_enough = Instant::now() + HELD;
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let mut holder = Writer::new(&shop, random.random()).await?;
    let hold = async move {
        // An error is a test that failed: nobody waits for the rest then.
        let _ = released.await;
        sleep_until(long_enough).await;
    };
    let held = tokio::spawn(async move { holder.write(held_key, hold, false).await });
    let (stop, all_written) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicI64::new(i64::MAX)),
    );
    let disturber = tokio::spawn(disturb(
        shop,
        StdRng::seed_from_u64(random.random()),
        Arc::clone(&stop),
    ));
    let listener = tokio::spawn(ear.listen(Arc::clone(&all_written)));
    let begun = Instant::now();
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    stop.store(true, Ordering::Relaxed);
    let (_shop, disturbed) = disturber.await??;

    let writing = begun.elapsed();

    // All is published but what is still held, which keeps the dead of the index where they are.
    quiet(&client).await?;
    let publishing = begun.elapsed();
    let while_held = poll_walks(&client, Some(10.0)).await?;

    // It fails only if nobody waits for it, which the next line tells.
    let _ = release.send(());
    let held = held.await??;
    let written = written.load(Ordering::Relaxed) + held;
    all_written.store(written, Ordering::Relaxed);
    let ear = listener.await??;
    assert_eq!(i64::try_from(ear.heard.len())?, written, "rows heard");
    ensure!(
        ear.repeats <= disturbed * UNMARKED,
        "{} repeats after {disturbed} kills and pauses",
        ear.repeats
    );
    quiet(&client).await?;
    client.batch_execute("vacuum ordering.outbox_messages").await?;
    let after_vacuum = poll_walks(&client, None).await?;
    eprintln!(
        "{written} rows, written in {writing:.0?} and published in {publishing:.0?}; {disturbed} kills and pauses, {} \
         repeats; blocks of a poll: {at_the_start} at the start, \
         {while_held} while a transaction was held, {after_vacuum} after a vacuum",
        ear.repeats
    );
    ensure!(
        while_held <= 5 * at_the_start,
        "{while_held} blocks, {at_the_start} at the start"
    );
    ensure!(
        5 * after_vacuum <= 6 * at_the_start,
        "{after_vacuum} blocks after a vacuum, {at_the_start} at the start"
    );
    Ok(())
}
