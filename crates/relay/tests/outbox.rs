//! The relay against a real Postgres and a real RabbitMQ: what is written is published, once if nothing fails, and each
//! key in its order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use event_batch::Outcome;
use relay::{Backoff, Bridge};
use std::collections::HashSet;
use std::time::Duration;
use support::{Proxy, Service, Stage, Wiretap, assert_in_order, authority, connect, eventually, write};

#[tokio::test]
async fn what_is_written_is_published_marked_and_delivered() {
    let stage = Stage::new().await;
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    stage.write(&["a", "b", "a"]).await;
    bridge.nudge().nudge();
    service.until(3).await;
    stage.until("processed_at is not null", 3).await;
    let of_a: Vec<_> = service
        .events()
        .into_iter()
        .filter(|event| event.starts_with("a:"))
        .collect();
    assert_eq!(of_a, ["a:1", "a:3"]);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn what_was_published_and_not_confirmed_is_not_taken_for_published() {
    let mut stage = Stage::new().await;
    let mut tap = Wiretap::on(&stage).await;
    let direct = authority(&stage.amqp_url);
    let proxy = Proxy::to(direct.clone()).await;
    stage.amqp_url = stage.amqp_url.replace(&direct, &proxy.address.to_string());
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    let before = stage.write(&["before"]).await;
    assert_eq!(tap.next().await.row(), before[0]);
    stage.until("processed_at is not null", 1).await;

    // What the relay publishes now, and believes to be on its way, never comes to the broker.
    proxy.swallow(true);
    let lost = stage.write(&["a", "b", "c"]).await;
    eventually("they are published", async || proxy.swallowed() > 1_000).await;
    proxy.cut();
    proxy.swallow(false);
    proxy.mend();
    let published: HashSet<i64> = tap.take(3).await.iter().map(support::Message::row).collect();
    assert_eq!(published, lost.into_iter().collect());
    stage.until("processed_at is not null", 4).await;
    assert_eq!(stage.count("attempts > 0").await, 0);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_row_that_commits_after_one_with_a_higher_id_is_not_skipped() {
    let stage = Stage::new().await;
    let mut tap = Wiretap::on(&stage).await;
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    let mut slow = connect(&stage.database_url).await;
    let early = slow.transaction().await.unwrap();
    let first = early
        .query_one(
            "insert into shop.outbox_messages
                (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at)
             values (gen_random_uuid(), 'T', 'thing.happened', 'slow', gen_random_uuid(),
                '{\"id\": \"x\", \"data\": {\"key\": \"slow\"}}', now())
             returning id",
            &[],
        )
        .await
        .unwrap()
        .get::<_, i64>(0);
    let later = stage.write(&["b", "c", "d"]).await;
    assert!(later.iter().all(|id| *id > first));
    let published: HashSet<i64> = tap.take(3).await.iter().map(support::Message::row).collect();
    assert_eq!(published, later.into_iter().collect());
    early.commit().await.unwrap();
    assert_eq!(tap.next().await.row(), first);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn of_one_key_the_lower_id_goes_first_even_if_it_is_due_later() {
    let stage = Stage::new().await;
    let mut tap = Wiretap::on(&stage).await;
    let ids = stage.write(&["a", "a", "b"]).await;
    let first_later = "update shop.outbox_messages set due_at = now() + interval '1 second' where id = $1";
    stage.database.execute(first_later, &[&ids[0]]).await.unwrap();
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    let order: Vec<i64> = tap.take(3).await.iter().map(support::Message::row).collect();
    assert_eq!(order, [ids[2], ids[0], ids[1]]);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_returned_message_among_a_thousand_is_not_taken_for_delivered() {
    let stage = Stage::new().await;
    let keys: Vec<String> = (0..1000).map(|key| key.to_string()).collect();
    let ids = stage
        .write(&keys.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let lost = "update shop.outbox_messages set routing_key = 'thing.nowhere' where id = $1";
    stage.database.execute(lost, &[&ids[500]]).await.unwrap();
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    stage.until("processed_at is not null", 999).await;
    stage
        .until(
            "processed_at is null and attempts > 0 and last_error like '%thing.nowhere%'",
            1,
        )
        .await;
    let unmarked = "select id from shop.outbox_messages where processed_at is null";
    assert_eq!(
        stage
            .database
            .query_one(unmarked, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        ids[500]
    );
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_poison_row_blocks_its_own_key_alone_until_it_is_parked() {
    let stage = Stage::new().await;
    let mut tap = Wiretap::on(&stage).await;
    let lost = write(&stage.database, "thing.nowhere", &["a"]).await;
    let ids = stage.write(&["a", "b", "a"]).await;
    let service = Service::willing().await;
    let mut config = stage.config(&service.url());
    config.relay.park_after = 4;
    config.relay.row = Backoff {
        first: Duration::from_millis(300),
        most: Duration::from_millis(300),
    };
    let bridge = Bridge::start(config).await.unwrap();
    assert_eq!(tap.next().await.row(), ids[1], "another key goes on");
    assert_eq!(stage.count("parked_at is not null").await, 0);
    let rest: Vec<i64> = tap.take(2).await.iter().map(support::Message::row).collect();
    assert_eq!(rest, [ids[0], ids[2]], "the key goes on");
    stage
        .until(
            &format!("id = {} and parked_at is not null and attempts = 4", lost[0]),
            1,
        )
        .await;
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn what_cannot_be_encoded_is_parked_and_a_key_that_may_go_unheard_is_not_returned() {
    let stage = Stage::new().await;
    stage.write(&["a", "b"]).await;
    write(&stage.database, "thing.unheard", &["c"]).await;
    let broken = "update shop.outbox_messages set headers = '[1]' where ordering_key = 'a'";
    stage.database.execute(broken, &[]).await.unwrap();
    let service = Service::willing().await;
    let mut config = stage.config(&service.url());
    config.relay.park_after = 1;
    let bridge = Bridge::start(config).await.unwrap();
    stage
        .until(
            "parked_at is not null and ordering_key = 'a' and last_error like 'headers%'",
            1,
        )
        .await;
    stage
        .until("processed_at is not null and ordering_key in ('b', 'c')", 2)
        .await;
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_row_due_in_the_future_waits_for_its_time_and_holds_nothing_back() {
    let stage = Stage::new().await;
    let mut tap = Wiretap::on(&stage).await;
    let ids = stage.write(&["timer", "a"]).await;
    let later =
        "update shop.outbox_messages set due_at = now() + interval '1 second' where id = $1 returning due_at";
    stage.database.execute(later, &[&ids[0]]).await.unwrap();
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    assert_eq!(tap.next().await.row(), ids[1]);
    assert_eq!(tap.next().await.row(), ids[0]);
    stage
        .until(&format!("id = {} and processed_at >= due_at", ids[0]), 1)
        .await;
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn the_order_of_a_key_is_not_lost_between_two_relays_that_publish_at_once() {
    let stage = Stage::new().await;
    let mut tap = Wiretap::on(&stage).await;
    let service = Service::willing().await;
    let first = stage.bridge(&service).await;
    let second = stage.bridge(&service).await;
    eventually("each holds half", async || held(&stage).await == [32, 32]).await;
    let keys: Vec<String> = (0..50).map(|key| key.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for _ in 0..20 {
        stage.write(&keys).await;
    }
    first.drain(Duration::from_secs(10)).await;
    eventually("the second holds all", async || held(&stage).await == [64]).await;
    stage.write(&keys).await;
    stage.until("processed_at is not null", 1050).await;
    let messages = tap.take(1050).await;
    assert_in_order(&messages);
    assert_eq!(tap.so_far().len(), 0, "nothing twice: both ended in order");
    second.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

/// How many partitions each session holds, the most first.
async fn held(stage: &Stage) -> Vec<i64> {
    let sql = "
        select count(*)
        from pg_locks
        where locktype = 'advisory' and objid < 64 and objsubid = 2 and granted
        and database = (select oid from pg_database where datname = current_database())
        group by pid
        order by 1 desc";
    stage
        .database
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[tokio::test]
async fn a_relay_whose_sessions_are_killed_comes_back_and_keeps_each_keys_order() {
    let stage = Stage::new().await;
    let mut tap = Wiretap::on(&stage).await;
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    let keys: Vec<String> = (0..40).map(|key| key.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for _ in 0..5 {
        for _ in 0..10 {
            stage.write(&keys).await;
        }
        let kill = "
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()";
        stage.database.query(kill, &[]).await.unwrap();
    }
    stage.until("processed_at is not null", 2000).await;
    let messages = tap.take(2000).await;
    assert_in_order(&messages);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_broker_that_goes_away_and_comes_back_costs_no_event_and_no_attempt() {
    let mut stage = Stage::new().await;
    let mut tap = Wiretap::on(&stage).await;
    let direct = authority(&stage.amqp_url);
    let proxy = Proxy::to(direct.clone()).await;
    stage.amqp_url = stage.amqp_url.replace(&direct, &proxy.address.to_string());
    let service = Service::willing().await;
    let bridge = stage.bridge(&service).await;
    let keys: Vec<String> = (0..40).map(|key| key.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for _ in 0..5 {
        for _ in 0..10 {
            stage.write(&keys).await;
        }
        proxy.cut();
        stage.write(&keys).await;
        proxy.mend();
    }
    stage.until("processed_at is not null", 2200).await;
    assert_eq!(stage.count("attempts > 0").await, 0);
    eventually("all are delivered", async || {
        service.events().into_iter().collect::<HashSet<_>>().len() == 40 && service.events().len() >= 2200
    })
    .await;
    let mut messages = tap.take(2200).await;
    messages.extend(tap.so_far());
    assert_in_order(&messages);
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_acknowledges_is_refused_in_one_line() {
    let stage = Stage::new().await;
    let name = stage.database_url.rsplit('/').next().unwrap().to_owned();
    let unsafe_now = format!("alter database {name} set synchronous_commit = off");
    stage.database.batch_execute(&unsafe_now).await.unwrap();
    let service = Service::willing().await;
    let error = Bridge::start(stage.config(&service.url()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("synchronous_commit = off") && !error.contains('\n'),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_password_or_address_ends_the_start_in_one_line_without_the_password() {
    let stage = Stage::new().await;
    let service = Service::willing().await;
    let mut config = stage.config(&service.url());
    let direct = authority(&stage.amqp_url);
    config.amqp_url = format!("amqp://nobody:hunter2@{direct}/%2f");
    let error = Bridge::start(config).await.unwrap_err().to_string();
    assert!(
        error.contains("RabbitMQ refuses") && !error.contains("hunter2") && !error.contains('\n'),
        "{error}"
    );
    for wrong in ["ftp://nowhere", "https://shop"] {
        assert!(Bridge::start(stage.config(wrong)).await.is_err());
    }
}

/// What the relay asks its outbox for, on a session like its own.
const POLL: &str =
    "execute poll (256, 8388608, 1048574, false, array[1, 2, 3], array[5, 6]::bigint[], '-infinity', 0, 256)";

async fn prepare_poll(stage: &Stage) {
    let poll = include_str!("../src/outbox/sql/poll.sql").replace("{schema}", "shop");
    let prepare = format!(
        "prepare poll (bigint, bigint, int, bool, int[], bigint[], timestamptz, bigint, bigint) as {poll}"
    );
    for statement in [include_str!("../src/outbox/sql/session.sql"), &prepare] {
        stage.database.batch_execute(statement).await.unwrap();
    }
}

async fn poll_plan(stage: &Stage) -> String {
    let lines = stage.database.query(&format!("explain {POLL}"), &[]).await;
    let lines: Vec<String> = lines.unwrap().iter().map(|row| row.get(0)).collect();
    lines.join("\n")
}

fn assert_walks_along_its_indexes(plan: &str) {
    let slice = "using outbox_messages_due on outbox_messages m";
    let probe = "using outbox_messages_key on outbox_messages first";
    assert!(plan.contains(slice) && plan.contains(probe), "{plan}");
    assert_eq!(plan.matches(" on outbox_messages ").count(), 2, "{plan}");
}

#[tokio::test]
async fn the_poll_walks_its_indexes_whatever_the_statistics_say() {
    let stage = Stage::new().await;
    let many = "
        insert into shop.outbox_messages
            (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at, processed_at)
        select gen_random_uuid(), 'T', 'thing.happened', n::text, gen_random_uuid(), '{}', now(),
            case when n % 2 = 0 then now() end
        from generate_series(1, 20000) n";
    stage.database.batch_execute(many).await.unwrap();
    let analyze = "analyze shop.outbox_messages";
    stage.database.batch_execute(analyze).await.unwrap();
    prepare_poll(&stage).await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let set = format!("set plan_cache_mode = {mode}");
        stage.database.batch_execute(&set).await.unwrap();
        assert_walks_along_its_indexes(&poll_plan(&stage).await);
    }
}

#[tokio::test]
async fn a_plan_that_was_made_for_an_empty_outbox_serves_a_backlog() {
    // What the statistics say of an outbox in good order: nothing in it waits.
    let processed = "
        insert into shop.outbox_messages
            (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at, processed_at)
        select gen_random_uuid(), 'T', 'thing.happened', n::text, gen_random_uuid(), '{}', now(), now()
        from generate_series(1, 20000) n";
    for emptied in [
        ["truncate shop.outbox_messages", "select"],
        [
            "delete from shop.outbox_messages",
            "vacuum analyze shop.outbox_messages",
        ],
    ] {
        let stage = Stage::new().await;
        for statement in [processed, "vacuum analyze shop.outbox_messages"]
            .into_iter()
            .chain(emptied)
        {
            stage.database.batch_execute(statement).await.unwrap();
        }
        prepare_poll(&stage).await;
        // After five times the plan is kept.
        for _ in 0..7 {
            stage.database.batch_execute(POLL).await.unwrap();
        }
        assert_walks_along_its_indexes(&poll_plan(&stage).await);
    }
}

#[tokio::test]
async fn what_has_been_kept_long_enough_is_removed_and_nothing_else() {
    let stage = Stage::new().await;
    let rows = "
        insert into shop.outbox_messages
            (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at, processed_at, parked_at)
        select gen_random_uuid(), 'T', 'thing.happened', n::text, gen_random_uuid(), '{}', now(),
            case when n % 3 > 0 then now() - interval '1 day' * (case when n <= 3000 then 8 else 1 end) end,
            case when n % 3 = 0 then now() end
        from generate_series(1, 3300) n;
        insert into shop.inbox
        select lpad(to_hex(n), 32, '0')::uuid, now() - interval '1 day' * (case when n <= 2500 then 31 else 29 end)
        from generate_series(1, 2700) n;
        create table shop.idempotency_keys as
        select n as key, now() - interval '1 hour' * (case when n <= 2500 then 25 else 23 end) as created_at
        from generate_series(1, 2700) n;
        insert into bridge.dead_letters (queue, event_id, reason, body, died_at, resolved_at, resolution)
        select 'q', n, 'r', '', now() - interval '100 days',
            case when n <= 2700 then now() - interval '1 day' * (case when n <= 2500 then 91 else 89 end) end,
            case when n <= 2700 then 'discarded' end
        from generate_series(1, 2701) n";
    stage.database.batch_execute(rows).await.unwrap();
    let service = Service::willing().await;
    let mut config = stage.config(&service.url());
    config.prune.interval = Duration::from_millis(100);
    let bridge = Bridge::start(config).await.unwrap();
    stage.until("processed_at < now() - interval '7 days'", 0).await;
    eventually("old ids are gone", async || {
        let left = stage
            .database
            .query_one("select count(*) from shop.inbox", &[])
            .await
            .unwrap();
        left.get::<_, i64>(0) == 200
    })
    .await;
    assert_eq!(stage.count("true").await, 1000 + 300 - 100 + 100);
    for (table, kept) in [("shop.idempotency_keys", 200), ("bridge.dead_letters", 201)] {
        let left = format!("select count(*) from {table}");
        eventually(&format!("{table} is pruned"), async || {
            let left = stage.database.query_one(&left, &[]).await.unwrap();
            left.get::<_, i64>(0) == kept
        })
        .await;
    }
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}

#[tokio::test]
async fn a_nudge_publishes_at_once() {
    let stage = Stage::new().await;
    let service = Service::new(|events| Ok(vec![Outcome::Processed; events.len()])).await;
    let mut config = stage.config(&service.url());
    config.relay.poll = Backoff {
        first: Duration::from_secs(3600),
        most: Duration::from_secs(3600),
    };
    let bridge = Bridge::start(config).await.unwrap();
    let nudge = bridge.nudge();
    for count in 1..=20 {
        stage.write(&["a"]).await;
        nudge.nudge_service("shop");
        nudge.nudge_service("unknown");
        service.until(count).await;
    }
    bridge.drain(Duration::from_secs(10)).await;
    stage.clear().await;
}
