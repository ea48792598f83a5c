//! A queue of the kind that the bridge declares, with nobody behind it, and a publisher that does nothing but publish.

use super::relay::{ROUTING_KEY, message_id};
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use shop_tests::Shop;
use shop_tests::environment::variable;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// How long the next message may take to come out of the queue.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most messages that a bare publisher has unconfirmed, as many as a window of the relay.
pub(super) const WINDOW: usize = 256;

pub(super) struct Queue {
    connection: Connection,
    channel: Channel,
    name: ShortString,
    exchange: ShortString,
    dead_letters: String,
}

impl Queue {
    /// Declares the exchange of the shop, if no relay has, and the queue.
    pub(super) async fn declare(shop: &Shop) -> Result<Self> {
        let connection =
            Connection::connect(&variable("SHOP_TEST_AMQP")?, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let exchange: ShortString = shop.at_broker("flower_shop").into();
        channel
            .exchange_declare(
                exchange.clone(),
                ExchangeKind::Topic,
                durable,
                FieldTable::default(),
            )
            .await?;
        let queue = Self {
            connection,
            channel,
            name: shop.at_broker("bench").into(),
            exchange,
            dead_letters: shop.at_broker("flower_shop.dead"),
        };
        queue.renew().await?;
        Ok(queue)
    }

    /// Removes the queue, if it is there, with all that is in it, and declares it again.
    pub(super) async fn renew(&self) -> Result<()> {
        self.remove().await?;
        let text = |value: &str| AMQPValue::LongString(value.into());
        let mut arguments = FieldTable::default();
        for (name, value) in [
            ("x-queue-type", text("quorum")),
            ("x-single-active-consumer", AMQPValue::Boolean(true)),
            ("x-dead-letter-exchange", text(&self.dead_letters)),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
            ("x-delivery-limit", AMQPValue::LongLongInt(1_000)),
        ] {
            arguments.insert(name.into(), value);
        }
        let durable = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        self.channel
            .queue_declare(self.name.clone(), durable, arguments)
            .await?;
        self.channel
            .queue_bind(
                self.name.clone(),
                self.exchange.clone(),
                ROUTING_KEY.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(())
    }

    /// Removes the queue.
    pub(super) async fn remove(&self) -> Result<()> {
        self.channel
            .queue_delete(self.name.clone(), QueueDeleteOptions::default())
            .await?;
        Ok(())
    }

    /// Publishes `count` messages with `body`, as the relay publishes its own, and gives the time until the last of them
    /// is confirmed. A confirm makes room for the next message: a publisher cannot do better within its window.
    pub(super) async fn publish(&self, count: u64, body: &str) -> Result<Duration> {
        let connection =
            Connection::connect(&variable("SHOP_TEST_AMQP")?, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let started = Instant::now();
        let mut unconfirmed = VecDeque::with_capacity(WINDOW);
        for number in 0..count {
            if unconfirmed.len() == WINDOW {
                settle(unconfirmed.pop_front()).await?;
            }
            let confirm = channel.basic_publish(
                self.exchange.clone(),
                ROUTING_KEY.into(),
                options,
                body.as_bytes(),
                properties(number),
            );
            unconfirmed.push_back(confirm.await?);
        }
        while !unconfirmed.is_empty() {
            settle(unconfirmed.pop_front()).await?;
        }
        Ok(started.elapsed())
    }

    /// Takes `count` messages out of the queue, and checks that each row is there and the rows of each key in order.
    pub(super) async fn expect_in_order(&self, count: u64) -> Result<()> {
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let channel = self.connection.create_channel().await?;
        let mut consumer = channel
            .basic_consume(self.name.clone(), "bench".into(), no_ack, FieldTable::default())
            .await?;
        let (mut rows, mut last) = (HashSet::new(), HashMap::new());
        while (rows.len() as u64) < count {
            let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
            let next = next.with_context(|| format!("{} messages of {count} came", rows.len()))?;
            let delivery = next.context("the consumer ended")??;
            let id = delivery.properties.message_id().as_ref().context("no id")?;
            let (_, row) = id.as_str().rsplit_once(':').context("no row in the id")?;
            let row: i64 = row.parse()?;
            if !rows.insert(row) {
                continue;
            }
            let headers = delivery.properties.headers().as_ref().context("no headers")?;
            let key = headers.inner().get("ordering-key").context("no ordering key")?;
            let key = key.as_long_string().context("the key is no text")?.to_string();
            let before = last.insert(key.clone(), row);
            ensure!(
                before.is_none_or(|before| before < row),
                "{key}: {row} was published after {before:?}"
            );
        }
        channel.close(200, "done".into()).await?;
        Ok(())
    }
}

/// What the relay gives a message, with a key as long as those of its rows.
fn properties(number: u64) -> BasicProperties {
    let mut headers = FieldTable::default();
    let key = format!("{number:032x}");
    headers.insert("ordering-key".into(), AMQPValue::LongString(key.as_str().into()));
    BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_delivery_mode(2)
        .with_message_id(message_id(number).into())
        .with_type("BenchHappened".into())
        .with_headers(headers)
}

async fn settle(confirm: Option<lapin::PublisherConfirm>) -> Result<()> {
    let confirmation = confirm.context("nothing to confirm")?.await?;
    ensure!(confirmation.is_ack(), "the broker refuses a message");
    ensure!(confirmation.take_message().is_none(), "no queue takes a message");
    Ok(())
}
