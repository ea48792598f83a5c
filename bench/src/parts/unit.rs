//! What an order cannot do without: one commit in Postgres and one confirmed message in a quorum queue. The times of a
//! saga are also told in this unit, so that they say something about the shop and not about the disk below it.

use anyhow::{Context as _, Result, ensure};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use shop_tests::Shop;
use shop_tests::environment::variable;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Statement};

const BODY: [u8; 1024] = [b'x'; 1024];

/// A table and a queue of its own.
pub(super) struct Unit {
    client: Client,
    insert: Statement,
    // Its channel ends with it.
    _connection: Connection,
    channel: Channel,
    queue: ShortString,
}

impl Unit {
    /// Makes them, in the shop's database and at its broker.
    pub(super) async fn prepare(shop: &Shop) -> Result<Self> {
        let client = shop.database().await?;
        client
            .batch_execute(
                "create table public.unit (id bigint generated always as identity primary key, body text)",
            )
            .await?;
        let insert = client
            .prepare("insert into public.unit (body) values ($1)")
            .await?;
        let connection =
            Connection::connect(&variable("SHOP_TEST_AMQP")?, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let queue: ShortString = shop.at_broker("unit").into();
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let options = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel.queue_declare(queue.clone(), options, arguments).await?;
        Ok(Self {
            client,
            insert,
            _connection: connection,
            channel,
            queue,
        })
    }

    /// How long a commit and then a confirmed message take together, `count` times.
    pub(super) async fn measure(&self, count: usize) -> Result<Vec<Duration>> {
        let body = std::str::from_utf8(&BODY)?;
        let mut durations = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            self.client.execute(&self.insert, &[&body]).await?;
            self.publish().await?;
            durations.push(started.elapsed());
        }
        Ok(durations)
    }

    async fn publish(&self) -> Result<()> {
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let confirmation = self
            .channel
            .basic_publish(
                "".into(),
                self.queue.clone(),
                BasicPublishOptions::default(),
                &BODY,
                persistent,
            )
            .await?
            .await
            .context("no confirm")?;
        ensure!(confirmation.is_ack(), "the broker refuses a message");
        Ok(())
    }

    /// Removes the queue; the table goes with the database.
    pub(super) async fn remove(self) -> Result<()> {
        self.channel
            .queue_delete(self.queue, QueueDeleteOptions::default())
            .await?;
        Ok(())
    }
}
