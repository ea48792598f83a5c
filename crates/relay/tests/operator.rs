//! What an operator does about dead letters, on a real database and broker: each act happens once, is recorded, and
//! loses nothing; and the bridge tells of what waits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use event_batch::Outcome;
use relay::Bridge;
use relay::operator::{Act, Filter, Item, ItemId, Operator, OperatorError, Overview, Replay, Tools, Wish};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Service, Stage, Wiretap, assert_in_order, connect, eventually, first_publications, name};

fn tools(stage: &Stage) -> Tools {
    Tools {
        topology: stage.topology.clone(),
        database_url: stage.database_url.clone(),
        outbox_urls: BTreeMap::new(),
        amqp_url: Some(stage.amqp_url.clone()),
    }
}

async fn operator(stage: &Stage) -> Operator {
    Operator::connect(tools(stage)).await.unwrap()
}

fn act() -> Act {
    Act {
        by: "anna".to_owned(),
        reason: Some("the bug is mended".to_owned()),
    }
}

async fn all(operator: &Operator) -> Vec<Item> {
    operator.list(&Filter::default()).await.unwrap()
}

async fn bridge(stage: &Stage, service: &Service) -> Bridge {
    let mut config = stage.config(&service.url());
    config.lookout = Duration::from_millis(50);
    config.relay.row = relay::Backoff {
        first: Duration::from_millis(1),
        most: Duration::from_millis(1),
    };
    Bridge::start(config).await.unwrap()
}

/// Rejects the events of these keys.
async fn rejecting(keys: &'static [&'static str]) -> Service {
    Service::new(move |events| {
        let judge = |event: &Value| {
            let key = name(event);
            let key = key.split(':').next().unwrap();
            if keys.contains(&key) {
                Outcome::Rejected
            } else {
                Outcome::Processed
            }
        };
        Ok(events.iter().map(judge).collect())
    })
    .await
}

fn processed(events: &[Value]) -> Vec<Outcome> {
    vec![Outcome::Processed; events.len()]
}

async fn until_waiting(operator: &Operator, count: usize) -> Vec<Item> {
    eventually("they wait", async || all(operator).await.len() == count).await;
    all(operator).await
}

async fn acts(stage: &Stage) -> Vec<(String, String, String, Option<String>)> {
    let sql = "select by_whom, act, subject, reason from bridge.dead_letter_acts order by id";
    let rows = stage.database.query(sql, &[]).await.unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect()
}

#[tokio::test]
async fn a_letter_tried_again_comes_to_its_service_as_it_was_and_is_resolved() {
    let stage = Stage::telling().await;
    let service = rejecting(&["a"]).await;
    let bridge = bridge(&stage, &service).await;
    let mut operator = operator(&stage).await;
    stage.write(&["a", "b"]).await;
    let items = until_waiting(&operator, 1).await;
    assert_eq!(items[0].queue, stage.queue());
    assert_eq!(items[0].service.as_deref(), Some("taker"));
    assert_eq!(items[0].reason.as_deref(), Some("not of interest"));

    // Once more in vain: it is a new letter, with the routing key that it had at first.
    operator.act(&items[0].id, Wish::Retry, &act()).await.unwrap();
    let again = until_waiting(&operator, 1).await;
    assert_ne!(again[0].id, items[0].id);
    assert_eq!(again[0].event_id, items[0].event_id);
    let fields = operator.show(&again[0].id).await.unwrap();
    let field = |name: &str| &fields.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(field("routing_key"), "thing.happened");
    assert_eq!(field("ordering_key"), "a");
    assert_eq!(field("payload")["data"]["key"], "a");

    service.behave(|events| Ok(processed(events)));
    let before = service.batches();
    operator.act(&again[0].id, Wish::Retry, &act()).await.unwrap();
    service.until(before.iter().flatten().count() + 1).await;
    let last = service.batches().last().unwrap()[0].clone();
    assert_eq!(last["id"], Value::from(items[0].event_id.as_str()));
    assert_eq!(
        before.iter().flatten().filter(|event| **event == last).count(),
        2,
        "as it was"
    );
    assert!(all(&operator).await.is_empty());
    let because = Some("the bug is mended".to_owned());
    let recorded = |id: &ItemId| {
        (
            "anna".to_owned(),
            "retried".to_owned(),
            id.to_string(),
            because.clone(),
        )
    };
    assert_eq!(
        acts(&stage).await,
        [recorded(&items[0].id), recorded(&again[0].id)]
    );

    // What was told: it died and was tried again, twice.
    eventually("all is told", async || service.told().len() == 4).await;
    let about = items[0].about.clone().unwrap();
    let died = ("EventDeadLettered".to_owned(), about.clone(), None);
    let resolved = ("DeadLetterResolved".to_owned(), about, Some("retried".to_owned()));
    assert_eq!(service.told(), [died.clone(), resolved.clone(), died, resolved]);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn of_two_operators_at_once_one_acts_and_the_other_is_told_so() {
    let stage = Stage::telling().await;
    let service = rejecting(&["a"]).await;
    let bridge = bridge(&stage, &service).await;
    let (mut one, mut other) = (operator(&stage).await, operator(&stage).await);
    stage.write(&["a"]).await;
    let id = until_waiting(&one, 1).await[0].id.clone();
    let act = act();
    let (first, second) = tokio::join!(
        one.act(&id, Wish::Discard, &act),
        other.act(&id, Wish::Retry, &act)
    );
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let refused = first.err().or(second.err()).unwrap();
    assert!(matches!(refused, OperatorError::NotOpen), "{refused}");
    assert_eq!(acts(&stage).await.len(), 1);
    let error = one
        .act(&ItemId::Letter(i64::MAX), Wish::Discard, &act)
        .await
        .unwrap_err();
    assert!(matches!(error, OperatorError::NotOpen), "{error}");
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_letter_that_the_broker_does_not_take_stays_open() {
    let stage = Stage::telling().await;
    let service = rejecting(&["a", "b"]).await;
    let bridge = bridge(&stage, &service).await;
    let mut at_work = operator(&stage).await;
    stage.write(&["a", "b"]).await;
    let items = until_waiting(&at_work, 2).await;
    let sql = "update bridge.dead_letters set queue = 'gone' where 'letter:' || id = $1";
    stage
        .database
        .execute(sql, &[&items[0].id.to_string()])
        .await
        .unwrap();
    let error = at_work.act(&items[0].id, Wish::Retry, &act()).await.unwrap_err();
    assert!(error.to_string().contains("no queue \"gone\""), "{error}");
    // The next one goes all the same.
    at_work.act(&items[1].id, Wish::Discard, &act()).await.unwrap();
    let mut unreachable = tools(&stage);
    unreachable.amqp_url = Some("amqp://guest:guest@127.0.0.1:1/%2f".to_owned());
    let mut unreachable = Operator::connect(unreachable).await.unwrap();
    let error = unreachable
        .act(&items[0].id, Wish::Retry, &act())
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("RabbitMQ: "), "{error}");
    assert_eq!(all(&at_work).await.len(), 1);
    assert_eq!(acts(&stage).await.len(), 1);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_crash_between_publishing_and_marking_repeats_the_letter_and_loses_nothing() {
    let stage = Stage::telling().await;
    let service = rejecting(&["a"]).await;
    let bridge = bridge(&stage, &service).await;
    let mut at_work = operator(&stage).await;
    stage.write(&["a"]).await;
    let id = until_waiting(&at_work, 1).await[0].id.clone();
    service.behave(|events| Ok(processed(events)));
    // Whatever ends the act after the broker has confirmed leaves the letter as it was.
    stage
        .database
        .batch_execute("alter table bridge.dead_letter_acts add constraint crash check (by_whom <> 'anna')")
        .await
        .unwrap();
    at_work.act(&id, Wish::Retry, &act()).await.unwrap_err();
    service.until(2).await;
    assert_eq!(all(&at_work).await[0].id, id);
    stage
        .database
        .batch_execute("alter table bridge.dead_letter_acts drop constraint crash")
        .await
        .unwrap();
    at_work.act(&id, Wish::Retry, &act()).await.unwrap();
    service.until(3).await;
    assert!(all(&at_work).await.is_empty());
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn parked_rows_wait_are_told_of_and_go_again_or_never() {
    let stage = Stage::telling().await;
    let service = Service::willing().await;
    let bridge = bridge(&stage, &service).await;
    let mut at_work = operator(&stage).await;
    let ids = support::write(&stage.database, "nobody.listens", &["a", "b", "c"]).await;
    let items = until_waiting(&at_work, 3).await;
    let parked = |id: i64| ItemId::Parked {
        service: "shop".to_owned(),
        id,
    };
    assert_eq!(
        items.iter().find(|item| item.id == parked(ids[0])).unwrap().queue,
        "outbox:shop"
    );
    eventually("they are told of", async || service.told().len() == 3).await;

    // Now somebody listens.
    let sql = "update shop.outbox_messages set routing_key = 'thing.happened'";
    stage.database.execute(sql, &[]).await.unwrap();
    at_work.act(&parked(ids[0]), Wish::Retry, &act()).await.unwrap();
    at_work.act(&parked(ids[1]), Wish::Discard, &act()).await.unwrap();
    // Not everybody uses this program.
    let sql = "update shop.outbox_messages set parked_at = null, due_at = now() where id = $1";
    stage.database.execute(sql, &[&ids[2]]).await.unwrap();
    service.until(2).await;
    stage.until("processed_at is not null", 3).await;
    assert!(all(&at_work).await.is_empty());
    let error = at_work
        .act(&parked(ids[1]), Wish::Retry, &act())
        .await
        .unwrap_err();
    assert!(matches!(error, OperatorError::NotOpen), "{error}");
    eventually("that is told too", async || service.told().len() == 6).await;
    let mut resolutions: Vec<(String, Option<String>)> = service.told()[3..]
        .iter()
        .map(|(_, about, resolution)| {
            let item = items
                .iter()
                .find(|item| item.about.as_ref() == Some(about))
                .unwrap();
            (item.id.to_string(), resolution.clone())
        })
        .collect();
    resolutions.sort();
    let expected = [(0, "retried"), (1, "discarded"), (2, "retried")];
    assert_eq!(
        resolutions,
        expected.map(|(place, how)| (parked(ids[place]).to_string(), Some(how.to_owned())))
    );
    let sql = "select count(*) from bridge.parked_rows";
    eventually("nothing is noted any more", async || {
        stage.database.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_row_that_parked_while_nobody_looked_is_told_of_later_and_once() {
    let stage = Stage::telling().await;
    let service = Service::willing().await;
    stage.write(&["a"]).await;
    let sql = "update shop.outbox_messages set parked_at = now()";
    stage.database.execute(sql, &[]).await.unwrap();
    let (first, second) = (bridge(&stage, &service).await, bridge(&stage, &service).await);
    eventually("it is told of", async || service.told().len() == 1).await;
    first.drain(Duration::from_secs(10)).await;
    // The one that is left leads now, and finds that all is told: a second row is told of by it.
    stage.write(&["b"]).await;
    let sql =
        "update shop.outbox_messages set parked_at = now(), processed_at = null where parked_at is null";
    stage.database.execute(sql, &[]).await.unwrap();
    eventually("the second is told of", async || service.told().len() >= 2).await;
    assert_eq!(service.told().len(), 2);
    second.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_service_that_cannot_be_looked_at_hides_nothing_of_the_others() {
    let mut stage = Stage::telling().await;
    // The first one has no tables at all, and the second speaks for so long that nobody waits for the end of it.
    stage.topology.outboxes.insert(0, "absent".to_owned());
    let slow = "
        create view shop.gauges as
        select 'words' as name, '{}'::jsonb as labels, 1::float8 as value
        from (select pg_sleep(600)) speech";
    stage.database.batch_execute(slow).await.unwrap();
    let service = Service::willing().await;
    let bridge = bridge(&stage, &service).await;
    for (key, count) in [("a", 1), ("b", 2)] {
        support::write(&stage.database, "nobody.listens", &[key]).await;
        eventually("it is told of", async || service.told().len() == count).await;
    }

    let overview = Overview::of(tools(&stage)).await.unwrap();
    let waiting: BTreeMap<&str, _> = overview
        .outboxes
        .iter()
        .map(|outbox| (outbox.service.as_str(), outbox.waiting.as_ref()))
        .collect();
    assert!(waiting["absent"].unwrap_err().contains("does not exist"));
    assert_eq!(waiting["shop"].unwrap().parked, 2);
    assert_eq!(waiting["bridge"].unwrap().parked, 0);
    let spoken: Vec<&String> = overview.gauges_trouble.keys().collect();
    assert_eq!(spoken, ["shop"]);
    assert_eq!(overview.letters_trouble, None);
    assert!(overview.queues.iter().all(|queue| queue.dead_letters == Some(0)));
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn the_bridges_own_events_that_die_are_not_told_of() {
    let stage = Stage::telling().await;
    let service = rejecting(&["a"]).await;
    let bridge = bridge(&stage, &service).await;
    let at_work = operator(&stage).await;
    // What the bridge says of its own would go round in a circle.
    let sql = "
        insert into bridge.outbox_messages
            (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at)
        select id, 'EventDeadLettered', 'thing.happened', id::text, id, jsonb_build_object('specversion', '1.0',
            'id', id, 'source', 'bridge', 'type', 'EventDeadLettered',
            'data', jsonb_build_object('key', 'a', 'thing_id', id)), now()
        from (select gen_random_uuid() as id) event";
    stage.database.execute(sql, &[]).await.unwrap();
    stage.write(&["a"]).await;
    until_waiting(&at_work, 2).await;
    let told = "select count(*) from bridge.outbox_messages where routing_key like 'bridge.%'";
    assert_eq!(
        stage
            .database
            .query_one(told, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        1
    );
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn filters_choose_by_service_type_age_and_what_it_is_about() {
    let stage = Stage::telling().await;
    let service = rejecting(&["a", "b"]).await;
    let bridge = bridge(&stage, &service).await;
    let at_work = operator(&stage).await;
    stage.write(&["a", "b"]).await;
    support::write(&stage.database, "nobody.listens", &["c"]).await;
    let items = until_waiting(&at_work, 3).await;
    let count = async |filter: Filter| at_work.list(&filter).await.unwrap().len();
    let services = |name: &str| Filter {
        services: vec![name.to_owned()],
        ..Filter::default()
    };
    assert_eq!(count(services("taker")).await, 2);
    assert_eq!(count(services("shop")).await, 1);
    assert_eq!(count(services("nobody")).await, 0);
    let types = |name: &str| Filter {
        types: vec![name.to_owned()],
        ..Filter::default()
    };
    assert_eq!(count(types("ThingHappened")).await, 3);
    assert_eq!(count(types("ThingEnded")).await, 0);
    let about = Filter {
        about: items[0].about.clone(),
        ..Filter::default()
    };
    assert_eq!(count(about).await, 1);
    let old = Filter {
        older_than: Some(Duration::from_secs(3600)),
        ..Filter::default()
    };
    assert_eq!(count(old.clone()).await, 0);
    let age = "update bridge.dead_letters set died_at = died_at - interval '2 hours';
        update shop.outbox_messages set parked_at = parked_at - interval '2 hours'";
    stage.database.batch_execute(age).await.unwrap();
    assert_eq!(count(old).await, 3);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_replay_publishes_again_what_was_published_each_key_in_order_and_not_what_was_discarded() {
    let stage = Stage::telling().await;
    let service = Service::willing().await;
    let bridge = bridge(&stage, &service).await;
    let mut at_work = operator(&stage).await;
    let keys: Vec<String> = (0..40).map(|key| format!("key{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for _ in 0..50 {
        stage.write(&keys).await;
    }
    stage.until("processed_at is not null", 2_000).await;
    service.until(2_000).await;
    let sql = "
        update shop.outbox_messages set processed_at = now() - interval '2 hours' where id <= 200;
        update shop.outbox_messages set parked_at = now() where id = 201";
    stage.database.batch_execute(sql).await.unwrap();
    let mut replay = Replay {
        since: chrono::Utc::now() - Duration::from_secs(3600),
        services: vec!["shop".to_owned()],
        types: Vec::new(),
    };
    let counted = at_work.replay(&replay, None).await.unwrap();
    assert_eq!((counted[0].service.as_str(), counted[0].rows), ("shop", 1_799));
    assert_eq!(
        stage.count("processed_at is null").await,
        0,
        "it was only counted"
    );

    // While it is replayed, life goes on.
    let mut tap = Wiretap::on(&stage).await;
    let database = connect(&stage.database_url).await;
    let writing = async {
        for _ in 0..20 {
            support::write(&database, "thing.happened", &keys).await;
        }
    };
    let act = act();
    let (replayed, ()) = tokio::join!(at_work.replay(&replay, Some(&act)), writing);
    assert_eq!(replayed.unwrap()[0].rows, 1_799);
    let messages = tap.take(1_799 + 800).await;
    let (again, new): (Vec<_>, Vec<_>) = messages
        .iter()
        .cloned()
        .partition(|message| message.row() <= 2_000);
    assert_in_order(&again);
    assert_in_order(&new);
    // Of each key the old rows come one after another: none that is new comes between.
    for (key, rows) in first_publications(&messages) {
        let changes = rows
            .windows(2)
            .filter(|pair| (pair[0] <= 2_000) != (pair[1] <= 2_000))
            .count();
        assert!(changes <= 2, "{key}: {rows:?}");
    }
    assert_eq!(acts(&stage).await[0].1, "replayed");
    assert!(messages.iter().all(|message| message.row() != 201));

    replay.types = vec!["ThingEnded".to_owned()];
    assert_eq!(at_work.replay(&replay, None).await.unwrap()[0].rows, 0);
    replay.services = vec!["nobody".to_owned()];
    assert!(at_work.replay(&replay, None).await.is_err());
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}
