//! One channel in confirm mode. A window at a time: its returns are known to be its own only because no other window
//! shares the channel.

use super::message::Message;
use super::window::{Confirm, Returned, Window};
use crate::broker::Broker;
use crate::trace;
use crash_points::{Point, through};
use futures::future::{join_all, try_join_all};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use spans::Span;
use std::time::Duration;
use tokio::time::timeout;

/// How long the broker may take to confirm a window. After that nothing is known of it.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(15);

/// Why nothing is known of what was published.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("RabbitMQ: {0}")]
    Lost(#[from] lapin::Error),
    #[error("RabbitMQ did not confirm within {} s", CONFIRM_PATIENCE.as_secs())]
    Unconfirmed,
    #[error("the lease ran out")]
    LeaseLost,
}

pub(super) struct Publisher {
    channel: Channel,
    exchange: ShortString,
}

impl Publisher {
    /// Waits until the broker is there.
    pub(super) async fn open(broker: &Broker, exchange: &str) -> Result<Self, PublishError> {
        let channel = broker.channel().await;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        timeout(CONFIRM_PATIENCE, through(Point::RelayConfirming, select))
            .await
            .map_err(|_| PublishError::Unconfirmed)??;
        let exchange = ShortString::try_new(exchange)
            .map_err(|error| lapin::Error::from(std::io::Error::other(error)))?;
        Ok(Self { channel, exchange })
    }

    /// Publishes a window and waits for all of its confirms. `still_ours` is asked before each message.
    pub(super) async fn publish(
        &self,
        broker: &Broker,
        window: &Window<Message>,
        still_ours: impl Fn() -> bool,
    ) -> Result<Vec<Confirm>, PublishError> {
        let begin = |message| trace::publishes(self.exchange.as_str(), message);
        let mut spans: Vec<Span> = window.messages().map(begin).collect();
        let published = self.publish_within(&spans, broker, window, still_ours).await;
        match &published {
            Ok(confirms) => trace::confirmed(&mut spans, window, confirms),
            Err(_) => spans.iter_mut().for_each(|span| span.fail("unconfirmed")),
        }
        published
    }

    async fn publish_within(
        &self,
        spans: &[Span],
        broker: &Broker,
        window: &Window<Message>,
        still_ours: impl Fn() -> bool,
    ) -> Result<Vec<Confirm>, PublishError> {
        let exchange = async {
            let sends = window.messages().zip(spans).map(|(message, span)| {
                let properties = trace::published_within(span, &message.properties);
                self.send(message, properties, &still_ours)
            });
            let confirms = try_join_all(sends).await?;
            let confirms = confirms
                .into_iter()
                .map(|confirm| through(Point::RelayConfirmed, confirm));
            let answers = join_all(confirms).await;
            answers.into_iter().map(|answer| Ok(confirm(answer?))).collect()
        };
        let mut exchange = std::pin::pin!(exchange);
        loop {
            match timeout(CONFIRM_PATIENCE, &mut exchange).await {
                Ok(confirms) => return confirms,
                // A broker that has asked for silence confirms when it has room again.
                Err(_) if broker.is_blocked() && still_ours() => {}
                Err(_) => return Err(PublishError::Unconfirmed),
            }
        }
    }

    async fn send(
        &self,
        message: &Message,
        properties: BasicProperties,
        still_ours: &impl Fn() -> bool,
    ) -> Result<lapin::PublisherConfirm, PublishError> {
        if !still_ours() {
            return Err(PublishError::LeaseLost);
        }
        let options = BasicPublishOptions {
            mandatory: message.mandatory,
            immediate: false,
        };
        let published = self.channel.basic_publish(
            self.exchange.clone(),
            message.routing_key.clone(),
            options,
            message.body.as_bytes(),
            properties,
        );
        Ok(through(Point::RelayPublished, published).await?)
    }
}

fn confirm(confirmation: Confirmation) -> Confirm {
    let acked = confirmation.is_ack();
    let returned = confirmation.take_message().map(|back| Returned {
        message_id: back
            .delivery
            .properties
            .message_id()
            .as_ref()
            .map(|id| id.as_str().to_owned()),
        reason: format!(
            "no queue takes routing key {:?} ({} {})",
            back.delivery.routing_key.as_str(),
            back.reply_code,
            back.reply_text
        ),
    });
    Confirm { acked, returned }
}
