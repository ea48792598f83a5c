//! Races: each a thousand times and more, on a real Postgres with the real components, and each judged by itself, by SQL.
//! Where those who race would hardly meet, the test holds the row that they race for until all of them wait for it.

mod couriers;
mod keys;
mod money;
mod stock;

use anyhow::{Context, Result, ensure};
use contracts::{Event, EventId};
use event_batch::SigningKey;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use shop_tests::events::{cloud_event, hand_over, unix_now};
use shop_tests::{Actor, Shop, eventually};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// How often each is run.
const RACES: usize = 1_000;
/// As many events as a batch may have.
const BATCH: usize = 100;
/// Clients and sessions that are at work at the same time.
const AT_ONCE: usize = 16;
/// How long all of a race may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before an event is handed over again.
const AGAIN: Duration = Duration::from_millis(25);
/// Between two looks at who waits.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a row is held at most: calls of the provider are given up after a second.
const HELD: Duration = Duration::from_millis(800);

/// How many sessions wait for another's lock.
const WAITING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'";

/// A shop without relays, in which nothing happens but what a test tells.
struct Arena {
    shop: Shop,
    database: Client,
    /// Another session, which holds what a race is about.
    holder: Client,
    anybody: Actor,
    key: SigningKey,
}

impl Arena {
    async fn open() -> Result<Self> {
        let mut shop = Shop::prepare().await?;
        let sessions = ["--postgres-connections", "32"].map(str::to_owned);
        shop.start_host_with(&sessions).await?;
        let (database, holder) = (shop.database().await?, shop.database().await?);
        database
            .batch_execute("create table race (id uuid primary key, said text not null)")
            .await?;
        Ok(Self {
            anybody: shop.anonymous()?,
            key: shop.events_key()?,
            shop,
            database,
            holder,
        })
    }

    /// Hands events to a service in one batch; gives those that are to come again.
    async fn hand(&self, service: &str, events: Vec<Value>) -> Result<Vec<Value>> {
        let answer = hand_over(&self.anybody, &self.key, service, &events, unix_now()).await?;
        if answer.status == 503 {
            return Ok(events);
        }
        to_come_again(events, &answer.expect(200)?)
    }

    /// Hands events to a service in one batch, and those that are to come again once more, as the bridge would.
    async fn tell(&self, service: &str, events: &[Value]) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut open = events.to_vec();
        loop {
            open = self.hand(service, open).await?;
            if open.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{service} does not take {}", open[0]);
            sleep(AGAIN).await;
        }
    }

    /// Hands over any number of events, in batches.
    async fn tell_all(&self, service: &str, events: &[Value]) -> Result<()> {
        let batches = stream::iter(events.chunks(BATCH)).map(|batch| self.tell(service, batch));
        batches.buffer_unordered(10).try_collect().await
    }

    /// The events of this type that a service has told, oldest first.
    async fn told(&self, service: &str, event_type: &str) -> Result<Vec<Value>> {
        let query =
            format!("select payload from {service}.outbox_messages where event_type = $1 order by id");
        let rows = self.database.query(&query, &[&event_type]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Somebody who orders, and a flower of which there is enough for everybody and ordering knows the price.
    async fn customer(&self) -> Result<(Actor, String)> {
        let (user, admin) = (self.anybody.register().await?, self.anybody.admin().await?);
        let flower = admin.add_flower("Rose of many", "150.00").await?;
        self.tell_all("ordering", &self.told("catalog", "FlowerChanged").await?)
            .await?;
        Ok((user, flower))
    }

    /// Places orders, each of one flower and to be paid in this way.
    async fn place(&self, user: &Actor, flower: &str, method: &str, orders: usize) -> Result<Vec<Uuid>> {
        let place = async |_| id_of(&user.order_paying(flower, 1, method).await?.expect(201)?);
        let placed = stream::iter(0..orders).map(place).buffer_unordered(AT_ONCE);
        placed.try_collect().await
    }

    /// Locks these rows, a table with what chooses them by the ids `$1`, until they are let go.
    async fn hold(&self, rows: &str, ids: &[Uuid]) -> Result<()> {
        self.holder.batch_execute("begin").await?;
        let lock = format!("select from {rows} for no key update");
        self.holder.query(&lock, &[&ids]).await?;
        Ok(())
    }

    async fn let_go(&self) -> Result<()> {
        Ok(self.holder.batch_execute("commit").await?)
    }

    /// Waits until so many wait for a lock, for a while; gives how many do.
    async fn crowd(&self, wanted: usize) -> Result<usize> {
        let end = Instant::now() + HELD;
        loop {
            let waiting = usize::try_from(self.count(WAITING, &[]).await?)?;
            if waiting >= wanted || Instant::now() > end {
                return Ok(waiting);
            }
            sleep(PAUSE).await;
        }
    }

    /// Runs a race while these rows are held, until all who race wait for one of them. Gives how many did.
    async fn meet<T>(
        &self,
        rows: &str,
        ids: &[Uuid],
        wanted: usize,
        race: impl Future<Output = Result<T>>,
    ) -> Result<(T, usize)> {
        self.hold(rows, ids).await?;
        let start = async {
            let waiting = self.crowd(wanted).await?;
            self.let_go().await?;
            Ok(waiting)
        };
        futures::future::try_join(race, start).await
    }

    /// Runs a race; gives how many waited for a lock at the same moment, at the most.
    async fn watch<T>(&self, race: impl Future<Output = Result<T>>) -> Result<(T, usize)> {
        let mut race = std::pin::pin!(race);
        let mut most = 0;
        loop {
            let look = async {
                sleep(PAUSE).await;
                self.count(WAITING, &[]).await
            };
            tokio::select! {
                ended = &mut race => return Ok((ended?, most)),
                waiting = look => most = most.max(usize::try_from(waiting?)?),
            }
        }
    }

    /// Writes down what was said of each race, for the queries that judge it.
    async fn note(&self, said: impl IntoIterator<Item = (Uuid, String)>) -> Result<()> {
        let (ids, said): (Vec<Uuid>, Vec<String>) = said.into_iter().unzip();
        let insert = "insert into race select * from unnest($1::uuid[], $2::text[])";
        self.database.execute(insert, &[&ids, &said]).await?;
        Ok(())
    }

    async fn count(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<i64> {
        Ok(self.database.query_one(query, parameters).await?.try_get(0)?)
    }

    /// Checks that none of these queries gives a row: each names the races that ended in what it is there to find.
    async fn expect_none(&self, checks: &[(&'static str, &'static str)]) -> Result<()> {
        for (what, query) in checks {
            let rows = self.database.query(*query, &[]).await.context(*what)?;
            let some: Vec<String> = rows.iter().take(3).map(|row| row.get(0)).collect();
            ensure!(rows.is_empty(), "{what}: {} times, as {some:?}", rows.len());
        }
        Ok(())
    }

    /// Waits until a relay has carried all that the services have told, and nothing moves any more. Nothing is dead then,
    /// and an audit finds nothing.
    async fn come_to_rest(&self) -> Result<()> {
        let moves = include_str!("moves.sql");
        eventually("nothing moves any more", PATIENCE, async || {
            Ok((self.count(moves, &[]).await? == 0).then_some(()))
        })
        .await
        .with_context(|| self.shop.log("relay-0"))?;
        self.shop.expect_clean_audit().await?;
        self.expect_none(&[(
            "a dead letter",
            "select queue || ': ' || reason from bridge.dead_letters",
        )])
        .await
    }

    /// Ends the host, and checks that no two of its sessions waited for each other.
    async fn expect_no_deadlock(mut self) -> Result<()> {
        assert_eq!(self.shop.deadlocks().await?, 0, "deadlocks");
        Ok(())
    }
}

/// Those of the events that a service wants to have again.
fn to_come_again(events: Vec<Value>, answer: &Value) -> Result<Vec<Value>> {
    let results = answer["results"].as_array().context("no results")?;
    let mut again = Vec::new();
    for event in events {
        let result = results.iter().find(|result| result["id"] == event["id"]);
        let result = result.context("an event without outcome")?;
        match result["outcome"].as_str() {
            Some("processed" | "duplicate") => {}
            Some("retry") => again.push(event),
            _ => anyhow::bail!("{result} for {event}"),
        }
    }
    Ok(again)
}

fn event(event: impl Into<Event>) -> Result<Value> {
    cloud_event(EventId::new(), &event.into())
}

fn id_of(object: &Value) -> Result<Uuid> {
    Ok(object["id"].as_str().context("nothing with an id")?.parse()?)
}
