//! More than one relay: each key's first publications keep their order, whoever publishes them.

use crate::alone;
use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use shop_tests::environment::variable;
use shop_tests::shop::signal;
use shop_tests::{Shop, eventually};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: usize = 40;

/// Inserts one row of each key into ordering's outbox: a change of a flower, which any number of may come.
async fn write_rows(client: &tokio_postgres::Client, keys: &[Uuid], routing_key: &str) -> Result<()> {
    let statement = "insert into ordering.outbox_messages
        (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at)
        select gen_random_uuid(), 'Test', $2, key, key::uuid,
            jsonb_build_object('specversion', '1.0', 'id', gen_random_uuid(), 'source', 'test', 'type', 'Test',
                'data', '{}'::jsonb), now()
        from unnest($1::text[]) as key";
    let keys: Vec<String> = keys.iter().map(Uuid::to_string).collect();
    client.execute(statement, &[&keys, &routing_key]).await?;
    Ok(())
}

#[tokio::test]
async fn when_one_of_two_relays_is_paused_the_other_takes_over_and_each_key_keeps_its_order() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    shop.start_host().await?;
    shop.start_relay(&[]).await?;
    shop.start_relay(&[]).await?;

    // The ear hears every publication; nobody else listens for this routing key.
    let connection =
        Connection::connect(&variable("SHOP_TEST_AMQP")?, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    let queue = channel
        .queue_declare("".into(), exclusive, FieldTable::default())
        .await?;
    let name = queue.name().clone();
    let exchange = shop.at_broker("flower_shop");
    eventually("the relays have declared the exchange", PATIENCE, async || {
        let channel = connection.create_channel().await?;
        let bind = channel.queue_bind(
            name.clone(),
            exchange.clone().into(),
            "test.order".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        Ok(bind.await.ok())
    })
    .await?;
    let no_ack = BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let mut ear = channel
        .basic_consume(name, "ear".into(), no_ack, FieldTable::default())
        .await?;

    let keys: Vec<Uuid> = (0..KEYS).map(|_| Uuid::now_v7()).collect();
    let client = shop.database_of("ordering").await?;
    let mut written = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for round in 0..200 {
        if round == 20 {
            signal(&shop.relays()[0], "STOP").await?;
        }
        // 150 rounds of 100 ms: the pause is 15 s long, more than a lease lives.
        if round == 170 {
            signal(&shop.relays()[0], "CONT").await?;
        }
        write_rows(&client, &keys, "test.order").await?;
        written += KEYS;
        pace.tick().await;
    }

    let mut heard: HashSet<i64> = HashSet::new();
    let mut last: HashMap<String, i64> = HashMap::new();
    while heard.len() < written {
        let delivery = tokio::time::timeout(PATIENCE, ear.next())
            .await
            .with_context(|| format!("heard {} of {written}", heard.len()))?
            .context("the ear fell off")??;
        let id = delivery
            .properties
            .message_id()
            .clone()
            .context("no message id")?;
        let row: i64 = id
            .as_str()
            .rsplit_once(':')
            .context("no row in the message id")?
            .1
            .parse()?;
        if !heard.insert(row) {
            continue;
        }
        let event: serde_json::Value = serde_json::from_slice(&delivery.data)?;
        ensure!(event["specversion"] == "1.0");
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let key = headers.inner().get("ordering-key").context("no ordering key")?;
        let key = key
            .as_long_string()
            .context("the ordering key is no text")?
            .to_string();
        let before = last.insert(key.clone(), row);
        ensure!(
            before.is_none_or(|before| before < row),
            "{key}: {row} was first published after {before:?}"
        );
    }
    eventually("every row is marked", PATIENCE, async || {
        let open = shop
            .count("select count(*) from ordering.outbox_messages where processed_at is null")
            .await?;
        Ok((open == 0).then_some(()))
    })
    .await?;
    Ok(())
}
