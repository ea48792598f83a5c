//! The shuttle against a real RabbitMQ and a service that misbehaves as it is told to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use event_batch::Outcome;
use futures::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicRejectOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{PATIENCE, Proxy, Service, Stage, authority, eventually, name};
use tokio::time::timeout;

fn processed(events: &[Value]) -> Vec<Outcome> {
    vec![Outcome::Processed; events.len()]
}

/// Dead letters as queue, event id, reason.
async fn dead_letters(stage: &Stage) -> Vec<(String, String, String)> {
    let sql = "select queue, event_id, reason from bridge.dead_letters order by id";
    let rows = stage.database.query(sql, &[]).await.unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

async fn event_id(stage: &Stage, row: i64) -> String {
    let sql = "select event_id::text from shop.outbox_messages where id = $1";
    stage.database.query_one(sql, &[&row]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_rejected_event_is_written_down_with_its_reason_and_the_queue_goes_on() {
    let stage = Stage::new().await;
    let service = Service::new(|events| {
        let judge = |event: &Value| {
            if name(event) == "a:1" {
                Outcome::Rejected
            } else {
                Outcome::Processed
            }
        };
        Ok(events.iter().map(judge).collect())
    })
    .await;
    let bridge = stage.bridge(&service).await;
    let ids = stage.write(&["a", "a", "b"]).await;
    service.until(3).await;
    eventually("it is written down", async || {
        !dead_letters(&stage).await.is_empty()
    })
    .await;
    let id = event_id(&stage, ids[0]).await;
    assert_eq!(
        dead_letters(&stage).await,
        [(stage.queue(), id, "not of interest".to_owned())]
    );
    let sql = "
        select routing_key, ordering_key, event_type, payload ->> 'source', deaths, convert_from(body, 'UTF8')::jsonb = payload
        from bridge.dead_letters";
    let row = stage.database.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "thing.happened");
    assert_eq!(row.get::<_, String>(1), "a");
    assert_eq!(row.get::<_, String>(2), "ThingHappened");
    assert_eq!(
        (
            row.get::<_, String>(3),
            row.get::<_, i32>(4),
            row.get::<_, bool>(5)
        ),
        ("shop".to_owned(), 1, true)
    );
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn an_event_to_be_retried_waits_and_so_do_the_later_ones_of_its_key() {
    let stage = Stage::new().await;
    let refusals = Arc::new(AtomicU32::new(0));
    let counted = refusals.clone();
    let service = Service::new(move |events| {
        let mut stuck = false;
        let judge = |event: &Value| {
            let is_a = name(event).starts_with("a:");
            stuck |= is_a && name(event) == "a:1" && counted.fetch_add(1, Ordering::SeqCst) < 3;
            if is_a && stuck {
                Outcome::Retry
            } else {
                Outcome::Processed
            }
        };
        Ok(events.iter().map(judge).collect())
    })
    .await;
    let bridge = stage.bridge(&service).await;
    stage.write(&["a", "b", "a"]).await;
    eventually("all are taken", async || {
        service.events().iter().filter(|event| *event == "a:3").count() >= 1
            && refusals.load(Ordering::SeqCst) == 4
    })
    .await;
    let events = service.events();
    assert_eq!(
        events.iter().filter(|event| *event == "b:2").count(),
        1,
        "{events:?}"
    );
    assert_eq!(
        events.iter().filter(|event| *event == "a:1").count(),
        4,
        "{events:?}"
    );
    assert_eq!(events.last().unwrap(), "a:3", "{events:?}");
    assert_eq!(dead_letters(&stage).await, []);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn one_poisonous_event_among_many_is_found_and_dies_alone() {
    let stage = Stage::new().await;
    let service = Service::new(|events| {
        if events.iter().any(|event| name(event) == "13:14") {
            Err(500)
        } else {
            Ok(processed(events))
        }
    })
    .await;
    let keys: Vec<String> = (0..60).map(|key| key.to_string()).collect();
    let ids = stage
        .write(&keys.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let mut config = stage.config(&service.url());
    config.shuttle.line.lone_failures = 4;
    let bridge = relay::Bridge::start(config).await.unwrap();
    eventually("it is dead", async || !dead_letters(&stage).await.is_empty()).await;
    let poison = event_id(&stage, ids[13]).await;
    let letters = dead_letters(&stage).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].1, poison);
    assert!(
        letters[0].2.contains("4 times on its own: answered 500"),
        "{letters:?}"
    );
    let taken: HashSet<String> = service.events().into_iter().collect();
    assert_eq!(taken.len(), 60);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_message_is_not_acknowledged_when_its_handler_failed() {
    let stage = Stage::new().await;
    let failing = Service::new(|_| Err(500)).await;
    failing.set_healthy(false);
    let first = stage.bridge(&failing).await;
    stage.write(&["a", "b", "a"]).await;
    failing.until(1).await;
    first.drain(Duration::from_secs(10)).await;

    let willing = Service::willing().await;
    let second = stage.bridge(&willing).await;
    willing.until(3).await;
    let mut events = willing.events();
    events.sort();
    assert_eq!(events, ["a:1", "a:3", "b:2"]);
    assert_eq!(dead_letters(&stage).await, []);
    second.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn healthy_messages_are_not_dead_lettered_because_the_database_was_away() {
    let stage = Stage::new().await;
    // As a service answers that cannot reach its database.
    let service = Service::new(|_| Err(503)).await;
    service.set_healthy(false);
    let mut config = stage.config(&service.url());
    config.shuttle.line.lone_failures = 1;
    let bridge = relay::Bridge::start(config).await.unwrap();
    stage.write(&["a"]).await;
    // What was tried is judged by the health that is asked for after it; then the queue waits for a better one.
    service.until(1).await;
    eventually("its health was asked for", async || service.asked() > 2).await;
    assert_eq!(dead_letters(&stage).await, []);
    service.behave(|events| Ok(processed(events)));
    service.set_healthy(true);
    service.until(2).await;
    assert_eq!(dead_letters(&stage).await, []);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

/// How many messages a queue has that nobody holds, and how many consumers.
async fn ready_and_consumers(channel: &Channel, queue: &str) -> (u32, u32) {
    let passive = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let queue = channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await
        .unwrap();
    (queue.message_count(), queue.consumer_count())
}

#[tokio::test]
async fn healthy_messages_are_not_dead_lettered_because_the_consumer_crashed_often() {
    let mut stage = Stage::new().await;
    let connection = Connection::connect(&stage.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let direct = authority(&stage.amqp_url);
    let proxy = Proxy::to(direct.clone()).await;
    stage.amqp_url = stage.amqp_url.replace(&direct, &proxy.address.to_string());
    // The messages stay with the consumer, for the service wants them later.
    let service = Service::new(|events| Ok(vec![Outcome::Retry; events.len()])).await;
    let bridge = stage.bridge(&service).await;
    stage.write(&["a", "b", "c"]).await;
    stage.until("processed_at is not null", 3).await;
    for _ in 0..30 {
        eventually("the consumer holds all", async || {
            ready_and_consumers(&channel, &stage.queue()).await == (0, 1)
        })
        .await;
        proxy.cut();
        eventually("the consumer is gone", async || {
            ready_and_consumers(&channel, &stage.queue()).await == (3, 0)
        })
        .await;
        proxy.mend();
    }
    service.behave(|events| Ok(processed(events)));
    let tried = service.events().len();
    service.until(tried + 3).await;
    eventually("the queue is empty", async || {
        ready_and_consumers(&channel, &stage.queue()).await == (0, 1)
    })
    .await;
    assert_eq!(dead_letters(&stage).await, []);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_wrong_key_pauses_the_queue_and_kills_nothing() {
    let stage = Stage::new().await;
    let service = Service::new(|_| Err(401)).await;
    let mut config = stage.config(&service.url());
    config.shuttle.line.lone_failures = 1;
    let bridge = relay::Bridge::start(config).await.unwrap();
    stage.write(&["a", "b"]).await;
    eventually("it was tried several times", async || {
        service.batches().len() >= 4
    })
    .await;
    assert_eq!(dead_letters(&stage).await, []);
    service.behave(|events| Ok(processed(events)));
    eventually("the queue is empty", async || {
        service.batches().last().is_some_and(|batch| batch.len() == 2) && service.batches().len() >= 5
    })
    .await;
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn what_is_no_event_goes_to_the_dead_letters_byte_for_byte() {
    let stage = Stage::new().await;
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    stage.write(&["a"]).await;
    service.until(1).await;
    service.behave(|events| Ok(vec![Outcome::Rejected; events.len()]));
    let connection = Connection::connect(&stage.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let bodies: [&[u8]; 4] = [
        b"\xff\x00garbage",
        b"[1]",
        br#"{"id": "n\u0000l"}"#,
        br#"{"id": ""}"#,
    ];
    for body in bodies {
        let exchange = stage.topology.exchange.as_str().into();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel
            .basic_publish(exchange, "thing.happened".into(), options, body, properties)
            .await
            .unwrap()
            .await
            .unwrap();
    }
    eventually("all are written down", async || {
        dead_letters(&stage).await.len() == 4
    })
    .await;
    let rows = stage
        .database
        .query("select body, payload is null from bridge.dead_letters", &[])
        .await
        .unwrap();
    let kept: HashSet<(Vec<u8>, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(
        kept,
        [true, false, true, false]
            .into_iter()
            .zip(bodies)
            .map(|(null, body)| (body.to_vec(), null))
            .collect()
    );
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_drained_shuttle_finishes_its_batch_and_leaves_nothing_to_be_repeated() {
    let stage = Stage::new().await;
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    let keys: Vec<String> = (0..500).map(|key| key.to_string()).collect();
    stage
        .write(&keys.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    service.until(50).await;
    bridge.drain(Duration::from_secs(10)).await;
    let seen = service.events().len();
    let second = stage.bridge(&service).await;
    eventually("the rest follows", async || {
        service.events().into_iter().collect::<HashSet<_>>().len() == 500
    })
    .await;
    assert_eq!(
        service.events().len(),
        500,
        "nothing came twice; {seen} came before"
    );
    second.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn two_bridges_never_split_a_key() {
    let stage = Stage::new().await;
    let service = Service::willing().await;
    let first = stage.bridge(&service).await;
    let second = stage.bridge(&service).await;
    for _ in 0..50 {
        stage.write(&["a", "b"]).await;
    }
    service.until(50).await;
    first.drain(Duration::from_secs(10)).await;
    eventually("all arrive", async || service.events().len() >= 100).await;
    stage.until("processed_at is not null", 100).await;
    second.drain(Duration::from_secs(10)).await;
    assert_eq!(service.events().len(), 100);
    stage.clear().await;
}

#[tokio::test]
async fn a_lost_connection_repeats_what_was_not_acknowledged_and_loses_nothing() {
    let mut stage = Stage::new().await;
    let direct = authority(&stage.amqp_url);
    let proxy = Proxy::to(direct.clone()).await;
    stage.amqp_url = stage.amqp_url.replace(&direct, &proxy.address.to_string());
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    let keys: Vec<String> = (0..200).map(|key| key.to_string()).collect();
    stage
        .write(&keys.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    for _ in 0..5 {
        let before = service.events().len();
        proxy.cut();
        proxy.mend();
        eventually("it goes on", async || {
            service.events().len() > before
                || service.events().into_iter().collect::<HashSet<_>>().len() == 200
        })
        .await;
    }
    eventually("all arrive", async || {
        service.events().into_iter().collect::<HashSet<_>>().len() == 200
    })
    .await;
    assert_eq!(dead_letters(&stage).await, []);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn what_dies_again_while_nobody_has_looked_is_the_same_letter() {
    let stage = Stage::new().await;
    let service = Service::new(|events| Ok(vec![Outcome::Rejected; events.len()])).await;
    let bridge = stage.bridge(&service).await;
    stage.write(&["a"]).await;
    eventually("it is written down", async || {
        dead_letters(&stage).await.len() == 1
    })
    .await;
    let again = "update shop.outbox_messages set processed_at = null";
    stage.database.execute(again, &[]).await.unwrap();
    let deaths = async || -> i32 {
        let row = stage
            .database
            .query_one("select max(deaths) from bridge.dead_letters", &[])
            .await
            .unwrap();
        row.get(0)
    };
    eventually("its second death is counted", async || deaths().await == 2).await;
    assert_eq!(dead_letters(&stage).await.len(), 1);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn what_the_broker_dead_letters_itself_is_written_down_with_the_key_it_was_published_with() {
    let stage = Stage::new().await;
    let service = Service::willing().await;
    let declares = stage.bridge(&service).await;
    stage.write(&["a"]).await;
    service.until(1).await;
    declares.drain(Duration::from_secs(10)).await;
    let connection = Connection::connect(&stage.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let (exchange, options) = (
        stage.topology.exchange.as_str().into(),
        BasicPublishOptions::default(),
    );
    let body = br#"{"id": "e1"}"#;
    let properties = BasicProperties::default().with_message_id("shop:7".into());
    channel
        .basic_publish(exchange, "thing.else".into(), options, body, properties)
        .await
        .unwrap();
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel
        .basic_consume(stage.queue().into(), "".into(), options, none)
        .await
        .unwrap();
    let delivery = timeout(PATIENCE, consumer.next()).await.expect("a delivery");
    let reject = BasicRejectOptions { requeue: false };
    delivery.unwrap().unwrap().reject(reject).await.unwrap();
    channel.close(200, "done".into()).await.unwrap();
    let bridge = stage.bridge(&service).await;
    eventually("it is written down", async || {
        !dead_letters(&stage).await.is_empty()
    })
    .await;
    let reason = "dead-lettered by RabbitMQ: rejected".to_owned();
    assert_eq!(
        dead_letters(&stage).await,
        [(stage.queue(), "e1".to_owned(), reason)]
    );
    let key = "select routing_key from bridge.dead_letters";
    let key: String = stage.database.query_one(key, &[]).await.unwrap().get(0);
    assert_eq!(key, "thing.else");
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}
