//! Publishes what no service would take to the exchange of dead letters, and does not let go before it is safe there.

use crate::backoff::Backoff;
use crate::broker::Broker;
use crate::dead_letters::{DEAD_AT, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY};
use bytes::Bytes;
use crash_points::{Point, through};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(15);
const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(200),
    most: Duration::from_secs(2),
};
/// A reason is for people to read.
const LONGEST_REASON: usize = 2_000;

/// A delivery on its way to the dead letters.
pub(super) struct Burial {
    tag: u64,
    /// The queue that it died in is its routing key from here on.
    queue: ShortString,
    properties: BasicProperties,
    body: Bytes,
}

impl Burial {
    /// # Errors
    /// If the queue's name is none.
    pub(super) fn new(
        tag: u64,
        queue: &str,
        body: Bytes,
        properties: &BasicProperties,
        routing_key: &str,
        reason: &str,
    ) -> Result<Self, String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let reason: String = reason.chars().take(LONGEST_REASON).collect();
        let text = |text: &str| AMQPValue::LongString(LongString::from(text));
        let mut headers = properties.headers().clone().unwrap_or_default();
        headers.insert(ShortString::from(DEAD_REASON), text(&reason));
        headers.insert(ShortString::from(DEAD_QUEUE), text(queue));
        // A dead letter that was tried again came by its queue's name, and carries what it was published with at first.
        if !headers.contains_key(DEAD_ROUTING_KEY) {
            headers.insert(ShortString::from(DEAD_ROUTING_KEY), text(routing_key));
        }
        headers.insert(
            ShortString::from(DEAD_AT),
            AMQPValue::LongLongInt(i64::try_from(now).unwrap_or(i64::MAX)),
        );
        let queue = ShortString::try_new(queue).map_err(|error| error.to_string())?;
        let properties = properties.clone().with_headers(headers).with_delivery_mode(2);
        Ok(Self {
            tag,
            queue,
            properties,
            body,
        })
    }
}

pub(super) struct Burier {
    broker: Broker,
    exchange: String,
    channel: Option<Channel>,
}

impl Burier {
    pub(super) fn new(broker: Broker, exchange: String) -> Self {
        Self {
            broker,
            exchange,
            channel: None,
        }
    }

    /// Returns when the broker has it: confirmed, and not returned. Tries for as long as that takes.
    pub(super) async fn bury(mut self, burial: Burial) -> (Self, u64) {
        let mut random = fastrand::Rng::new();
        let mut failures = 0;
        while !matches!(timeout(PATIENCE, self.publish(&burial)).await, Ok(Ok(true))) {
            self.channel = None;
            failures += 1;
            sleep(AGAIN.after(failures, &mut random)).await;
        }
        (self, burial.tag)
    }

    async fn publish(&mut self, burial: &Burial) -> lapin::Result<bool> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => {
                let channel = self.broker.channel().await;
                let confirming = channel.confirm_select(ConfirmSelectOptions::default());
                through(Point::BurialConfirming, confirming).await?;
                channel
            }
        };
        let exchange = ShortString::try_new(self.exchange.as_str());
        let exchange = exchange.map_err(|error| lapin::Error::from(std::io::Error::other(error)))?;
        let mandatory = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let published = channel.basic_publish(
            exchange,
            burial.queue.clone(),
            mandatory,
            &burial.body,
            burial.properties.clone(),
        );
        let confirm = through(Point::BurialPublished, published).await?;
        let safe = matches!(
            through(Point::BurialConfirmed, confirm).await?,
            Confirmation::Ack(None)
        );
        self.channel = Some(channel);
        Ok(safe)
    }
}
