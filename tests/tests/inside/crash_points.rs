//! The bridge dies at each of its crash points, as by a power cut, while people are at the shop. What they were told
//! must hold afterwards. A point that is never reached fails the test.

use crate::alone;
use crate::chaos::Storm;
use anyhow::{Context, Result, bail, ensure};
use crash_points::Point;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shop_tests::proxy::Mood;
use shop_tests::shop::signal;
use shop_tests::{Shop, eventually};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;
/// Partitions of one outbox, of which there are five.
const PARTITIONS: i64 = 64 * 5;

/// What leads a process to a point.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// It starts.
    Start,
    /// It does its daily work: the point is reached over and over, and dies at any of the first times.
    Work,
    /// A message comes that no service takes.
    Poison,
    /// A row comes that no queue takes, and is parked.
    Park,
    /// The services' database comes and goes.
    Starve,
    /// Another relay comes.
    Share,
    /// It is told to end.
    End,
    /// An operator gives a command.
    Command(&'static [&'static str]),
}

const LIST: Way = Way::Command(&["dead-letters", "list"]);
const SHOW: Way = Way::Command(&["dead-letters", "show", LETTER]);
const CHECK: Way = Way::Command(&["dead-letters", "retry", LETTER, "--dry-run"]);
const RETRY: Way = Way::Command(&["dead-letters", "retry", "--all"]);
const REPLAY: Way = Way::Command(&["replay", "--since", "1h"]);
/// Stands for a letter that waits.
const LETTER: &str = "LETTER";

fn way_to(point: Point) -> Way {
    use Point as P;
    match point {
        P::DatabaseConnected
        | P::DurabilityChecked
        | P::BrokerConnected
        | P::ChannelOpened
        | P::ExchangeDeclared
        | P::QueueDeclared
        | P::QueueBound
        | P::Declared
        | P::DeclaringEnded
        | P::LeaseBounded
        | P::LeasePresent
        | P::LeasePrepared
        | P::LeaseObserved
        | P::LeaseTaken
        | P::RelaySet
        | P::RelayPrepared
        | P::RelayConfirming
        | P::ShuttleBounded
        | P::ShuttleConsuming
        | P::LettersPrepared
        | P::LettersBounded
        | P::LettersConsuming
        | P::LookoutSet
        | P::LettersCounted
        | P::ParkedCounted
        | P::DepthCounted
        | P::GaugesRead
        | P::LookoutLeads
        | P::ParkedSeen
        | P::GoneSeen
        | P::ToldRead
        | P::PruneAsked
        | P::PrunePrepared
        | P::Pruned
        | P::HostConnected
        | P::HostRedisConnected => Way::Start,
        P::RelayPolled
        | P::RelayPublished
        | P::RelayConfirmed
        | P::RelayMarked
        | P::ShuttleDelivered
        | P::ShuttleAnswered
        | P::ShuttleRead
        | P::ShuttleAcknowledged
        | P::HostQueried
        | P::HostFirstRow
        | P::HostRedisAnswered
        | P::HostCalled
        | P::HostAnswered => Way::Work,
        P::BurialConfirming
        | P::BurialPublished
        | P::BurialConfirmed
        | P::LetterDelivered
        | P::LetterWritten
        | P::LetterAcknowledged => Way::Poison,
        P::RelayBackedOff | P::ParkedTold => Way::Park,
        P::ShuttleAsked => Way::Starve,
        P::LeaseReleased => Way::Share,
        P::BrokerClosed | P::ShuttleCancelled | P::ShuttleClosed => Way::End,
        P::OperatorListed => LIST,
        P::OperatorShown => SHOW,
        P::OperatorChecked => CHECK,
        P::OperatorBegun
        | P::OperatorLocked
        | P::OperatorConfirming
        | P::OperatorPublished
        | P::OperatorConfirmed
        | P::OperatorChanged
        | P::OperatorRecorded
        | P::OperatorCommitted => RETRY,
        P::ReplayPrepared | P::ReplayRead | P::ReplayUnprocessed => REPLAY,
    }
}

#[tokio::test]
async fn a_crash_at_any_await_loses_nothing_and_does_nothing_twice() -> Result<()> {
    let _alone = alone().await;
    let seed = rand::random();
    run(seed).await.with_context(|| format!("seed {seed}"))
}

async fn run(seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut shop = Shop::prepare_linked().await?;
    shop.start_up(&[]).await?;
    let storm = Storm::begin(&shop, &mut random).await?;
    shop.stop_host().await?;
    for point in Point::ALL {
        let died = die_at(&mut shop, *point, &storm.flowers[0], &mut random);
        let status = died.await.with_context(|| point.name().to_owned())?;
        ensure!(status.signal() == Some(SIGKILL), "{}: {status}", point.name());
    }
    if shop.host().is_none() {
        shop.start_up(&[]).await?;
    }
    clear(&shop).await?;
    let report = storm.judge(&shop).await?;
    eprintln!("{report}; {} crash points", Point::ALL.len());
    Ok(())
}

/// Leads a process to the point; how it ended.
async fn die_at(shop: &mut Shop, point: Point, flower: &str, random: &mut StdRng) -> Result<ExitStatus> {
    let way = way_to(point);
    if let Way::Command(command) = way {
        if shop.host().is_none() {
            shop.start_up(&[]).await?;
        }
        return command_to_death(shop, command, point).await;
    }
    if shop.host().is_some() {
        shop.stop_host().await?;
    }
    match way {
        Way::Poison => shop.poison("delivery_order_events").await?,
        Way::Park => park(shop).await?,
        _ => {}
    }
    let times = if matches!(way, Way::Work) {
        random.random_range(1..20)
    } else {
        1
    };
    shop.start_doomed(&format!("{}:{times}", point.name()))?;
    match way {
        Way::Share => {
            eventually("it holds every partition", PATIENCE, async || {
                Ok((partitions(shop).await? == PARTITIONS).then_some(()))
            })
            .await?;
            shop.start_relay(&[]).await?;
        }
        Way::End => {
            let user = shop.anonymous()?;
            shop.await_healthy().await?;
            let user = user.register().await?;
            let order = user.order(flower, 1).await?.expect(201)?;
            // Every queue has its consumer by then.
            user.await_status(order["id"].as_str().context("no id")?, "shipping")
                .await?;
            signal(shop.host().context("no process")?, "TERM").await?;
        }
        _ => {}
    }
    let mut process = shop.take_host().context("no process")?;
    let path = format!("/api/catalog/flowers/{flower}");
    let browsing = async {
        let anybody = shop.anonymous()?;
        loop {
            // Whatever is answered, if anything is.
            let _ = anybody.get(&path).await;
            if matches!(way, Way::Starve) {
                let links = shop.links().context("no links")?;
                links.postgres.behave(Mood::Cut);
                sleep(Duration::from_millis(300)).await;
                links.postgres.behave(Mood::Well);
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let status = tokio::select! {
        status = timeout(PATIENCE, process.wait()) => status,
        ended = browsing => return ended,
    };
    if let Some(links) = shop.links() {
        links.postgres.behave(Mood::Well);
    }
    for mut relay in shop.relays().drain(..) {
        relay.start_kill()?;
        relay.wait().await?;
    }
    Ok(status.context("is never reached")??)
}

/// The same for a command of an operator's, who has a letter and a parked row to deal with.
async fn command_to_death(shop: &Shop, command: &[&str], point: Point) -> Result<ExitStatus> {
    shop.poison("delivery_order_events").await?;
    let letter = eventually("a letter waits", PATIENCE, async || {
        let listed = shop.operate(&["dead-letters", "list", "--json"]).await?;
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout)?;
        let mut ids = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["id"].as_str());
        Ok(ids.find(|id| id.starts_with("letter:")).map(str::to_owned))
    })
    .await?;
    let command: Vec<&str> = command
        .iter()
        .map(|word| if *word == LETTER { &letter } else { *word })
        .collect();
    let ended = shop
        .operate_with(&command, &[("SHOP_CRASH_AT", point.name())])
        .await?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(
        ended.status.signal().is_some(),
        "is never reached: {}, {said}",
        ended.status
    );
    Ok(ended.status)
}

/// Writes a row that no queue takes, at its last attempt.
async fn park(shop: &Shop) -> Result<()> {
    let row = "insert into ordering.outbox_messages
        (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at, attempts)
        select id, 'Test', 'to.nobody', id, id, jsonb_build_object('specversion', '1.0', 'id', id,
            'source', 'test', 'type', 'Test', 'data', '{}'::jsonb), now(), 9
        from (select gen_random_uuid() as id) as new";
    shop.database().await?.execute(row, &[]).await?;
    Ok(())
}

async fn partitions(shop: &Shop) -> Result<i64> {
    let locks = "select count(*) from pg_locks
        where locktype = 'advisory' and objsubid = 2 and objid < 64 and granted
        and database = (select oid from pg_database where datname = current_database())";
    shop.count(locks).await
}

/// What was put into the shop to stir it goes, and nothing else is there.
async fn clear(shop: &Shop) -> Result<()> {
    let quiet = "select (select count(*) from bridge.dead_letters where resolved_at is null and convert_from(body, 'UTF8') <> 'no event')
        + (select count(*) from ordering.outbox_messages where parked_at is not null and routing_key <> 'to.nobody')";
    let open = "select (select count(*) from bridge.dead_letters where resolved_at is null)
        + (select count(*) from ordering.outbox_messages where routing_key = 'to.nobody' and processed_at is null)";
    // A row that the operator has tried again has all of its attempts before it.
    let last_attempt = "update ordering.outbox_messages set attempts = 9, due_at = now()
        where routing_key = 'to.nobody' and parked_at is null and processed_at is null and attempts < 9";
    let discard = ["dead-letters", "discard", "--all", "--reason", "a test's"];
    let database = shop.database().await?;
    eventually("the operator has nothing left to do", PATIENCE, async || {
        if shop.count(quiet).await? > 0 {
            bail!("something healthy is dead");
        }
        database.execute(last_attempt, &[]).await?;
        shop.operate(&discard).await?;
        Ok((shop.count(open).await? == 0).then_some(()))
    })
    .await
}
