//! Drains the queue of dead letters into `bridge.dead_letters`: written first, acknowledged then. What arrives twice is
//! written once.

use crate::backoff::{Backoff, Condition};
use crate::broker::Broker;
use crate::database::{self, DatabaseError, within};
use crate::notices::{self, About};
use crate::outbox::message::ORDERING_KEY;
use crate::shuttle::text_header;
use crash_points::{Point, reached, through};
use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Consumer};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Headers of a dead letter that the shuttle buried.
pub(crate) const DEAD_REASON: &str = "dead-reason";
pub(crate) const DEAD_QUEUE: &str = "dead-queue";
/// The routing key that the event was published with.
pub(crate) const DEAD_ROUTING_KEY: &str = "dead-routing-key";
/// Milliseconds since 1970.
pub(crate) const DEAD_AT: &str = "dead-at";
/// The header that the broker writes into what it dead-letters itself.
pub(crate) const X_DEATH: &str = "x-death";

const PREFETCH: u16 = 50;
const REOPEN: Backoff = Backoff {
    first: Duration::from_millis(200),
    most: Duration::from_secs(2),
};
const BROKER_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct DeadLetters {
    pub(crate) queue: String,
    /// The field of an event's data that says what it is about, if the bridge is to tell of dead letters.
    pub(crate) correlate_by: Option<String>,
    pub(crate) consumers: Broker,
    pub(crate) database: tokio_postgres::Config,
    pub(crate) drain: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("RabbitMQ: {0}")]
    Lost(#[from] lapin::Error),
    #[error("RabbitMQ did not answer within {} s", BROKER_PATIENCE.as_secs())]
    Silent,
    #[error("RabbitMQ ended the consumer")]
    Cancelled,
    #[error("{0}")]
    Database(#[from] DatabaseError),
}

impl DeadLetters {
    /// Drains the queue until it is itself told to.
    pub(crate) async fn run(self) {
        let mut condition = Condition::new("drain of dead letters");
        let mut random = fastrand::Rng::new();
        loop {
            let ended = tokio::select! {
                ended = self.watch(&mut condition) => ended,
                // A letter that is written but not acknowledged comes again, and is written once.
                () = self.drain.cancelled() => return,
            };
            if let Err(trouble) = ended {
                let failures = condition.down(&trouble.to_string());
                tokio::select! {
                    () = sleep(REOPEN.after(failures, &mut random)) => {}
                    () = self.drain.cancelled() => return,
                }
            }
        }
    }

    async fn watch(&self, condition: &mut Condition) -> Result<(), Trouble> {
        // The database first: what is prefetched and not acknowledged counts as delivered once more.
        let client = database::connect(&self.database, "dead letters").await?;
        let insert = within(
            Point::LettersPrepared,
            client.prepare(include_str!("sql/bury.sql")),
        )
        .await?;
        let mut consumer = timeout(BROKER_PATIENCE, self.consume())
            .await
            .map_err(|_| Trouble::Silent)??;
        condition.up();
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery?;
            reached(Point::LetterDelivered);
            let letter = Letter::of(&delivery, self.correlate_by.as_deref());
            letter.write(&client, &insert).await?;
            let ack = delivery.ack(BasicAckOptions::default());
            timeout(BROKER_PATIENCE, through(Point::LetterAcknowledged, ack))
                .await
                .map_err(|_| Trouble::Silent)??;
        }
        Err(Trouble::Cancelled)
    }

    async fn consume(&self) -> lapin::Result<Consumer> {
        let channel = self.consumers.channel().await;
        let bounded = channel.basic_qos(PREFETCH, BasicQosOptions::default());
        through(Point::LettersBounded, bounded).await?;
        let queue = ShortString::try_new(self.queue.as_str());
        let queue = queue.map_err(|error| lapin::Error::from(std::io::Error::other(error)))?;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue, ShortString::default(), options, FieldTable::default());
        through(Point::LettersConsuming, consumer).await
    }
}

/// A dead letter as it is written down.
#[derive(Debug, PartialEq)]
struct Letter {
    queue: String,
    event_id: String,
    event_type: Option<String>,
    routing_key: Option<String>,
    ordering_key: Option<String>,
    reason: String,
    payload: Option<String>,
    body: Vec<u8>,
    properties: String,
    headers: String,
    died_at_ms: f64,
    about: Option<About>,
}

impl Letter {
    fn of(delivery: &Delivery, correlate_by: Option<&str>) -> Self {
        let properties = &delivery.properties;
        let death = Death::of(properties);
        let text = std::str::from_utf8(&delivery.data).ok();
        let event: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        let attribute = |name| {
            event
                .as_ref()
                .and_then(|event| event.get(name))
                .and_then(Value::as_str)
        };
        let message_id = properties.message_id().as_ref().map(|id| format!("message {id}"));
        let event_id = attribute("id").filter(|id| !id.is_empty()).map(str::to_owned);
        let event_type = properties.kind().as_ref().map(|kind| kind.as_str().to_owned());
        Self {
            // The routing key of a dead letter is the queue that it died in, whoever buried it.
            queue: clean(
                text_header(properties, DEAD_QUEUE).unwrap_or_else(|| delivery.routing_key.to_string()),
            ),
            event_id: clean(event_id.or(message_id).unwrap_or_else(|| digest(&delivery.data))),
            event_type: event_type
                .or_else(|| attribute("type").map(str::to_owned))
                .map(clean),
            routing_key: text_header(properties, DEAD_ROUTING_KEY)
                .or(death.routing_key)
                .map(clean),
            ordering_key: text_header(properties, ORDERING_KEY).map(clean),
            reason: clean(text_header(properties, DEAD_REASON).unwrap_or(death.reason)),
            payload: event.is_some().then(|| text.map(str::to_owned)).flatten(),
            body: delivery.data.clone(),
            properties: described(properties).to_string(),
            headers: properties
                .headers()
                .as_ref()
                .map_or_else(|| json!({}), table)
                .to_string(),
            died_at_ms: death.at_ms,
            about: event.as_ref().and_then(|event| About::of(event, correlate_by?)),
        }
    }

    async fn write(mut self, client: &Client, insert: &Statement) -> Result<(), Trouble> {
        loop {
            match self.insert(client, insert).await {
                // JSON that jsonb cannot hold, a NUL in a string say: the body has it, byte for byte.
                Err(error) if error.is_about_data() && self.payload.is_some() => self.payload = None,
                Err(error) if error.is_about_data() && self.headers != "{}" => {
                    error!(queue = self.queue, event_id = self.event_id, %error, "headers of a dead letter are lost");
                    "{}".clone_into(&mut self.headers);
                }
                result => return Ok(result?),
            }
        }
    }

    async fn insert(&self, client: &Client, insert: &Statement) -> Result<(), DatabaseError> {
        let notice = self.about.as_ref().map(|about| {
            let event_type = self.event_type.as_deref();
            notices::dead_lettered(about, event_type, &self.queue)
        });
        let notices = notices::rows(notice);
        let values: [&(dyn ToSql + Sync); 12] = [
            &self.queue,
            &self.event_id,
            &self.event_type,
            &self.routing_key,
            &self.ordering_key,
            &self.reason,
            &self.payload,
            &self.body,
            &self.properties,
            &self.headers,
            &self.died_at_ms,
            &notices,
        ];
        within(Point::LetterWritten, client.execute(insert, &values))
            .await
            .map(drop)
    }
}

/// Why and when the broker dead-lettered something itself.
struct Death {
    reason: String,
    routing_key: Option<String>,
    at_ms: f64,
}

impl Death {
    fn of(properties: &BasicProperties) -> Self {
        let headers = properties.headers().as_ref().map(FieldTable::inner);
        let header = |name| headers.and_then(|headers| headers.get(name));
        let by_us = header(DEAD_AT).and_then(AMQPValue::as_long_long_int);
        let death = header(X_DEATH)
            .and_then(AMQPValue::as_array)
            .and_then(|deaths| deaths.as_slice().first());
        let death = death
            .and_then(AMQPValue::as_field_table)
            .map(table)
            .unwrap_or_default();
        let seconds = death
            .get("time")
            .and_then(Value::as_u64)
            .map(|seconds| seconds.saturating_mul(1000) as f64);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as f64;
        let reason = death
            .get("reason")
            .and_then(Value::as_str)
            .unwrap_or("without a reason");
        let key = death
            .get("routing-keys")
            .and_then(|keys| keys.get(0))
            .and_then(Value::as_str);
        Self {
            reason: format!("dead-lettered by RabbitMQ: {reason}"),
            routing_key: key.map(str::to_owned),
            at_ms: by_us.map(|at| at as f64).or(seconds).unwrap_or(now),
        }
    }
}

/// What a message needs besides its headers to be published again as it was.
fn described(properties: &BasicProperties) -> Value {
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| clean(text.as_str().to_owned()));
    json!({
        "content_type": text(properties.content_type()),
        "message_id": text(properties.message_id()),
        "type": text(properties.kind()),
    })
}

fn table(table: &FieldTable) -> Value {
    let entries = table
        .inner()
        .iter()
        .map(|(name, entry)| (clean(name.to_string()), value(entry)));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn value(value: &AMQPValue) -> Value {
    use AMQPValue as A;
    match value {
        A::Boolean(value) => json!(value),
        A::ShortShortInt(value) => json!(value),
        A::ShortShortUInt(value) => json!(value),
        A::ShortInt(value) => json!(value),
        A::ShortUInt(value) => json!(value),
        A::LongInt(value) => json!(value),
        A::LongUInt(value) => json!(value),
        A::LongLongInt(value) => json!(value),
        A::Float(value) => json!(value),
        A::Double(value) => json!(value),
        A::DecimalValue(value) => json!({"scale": value.scale, "value": value.value}),
        A::ShortString(text) => json!(clean(text.to_string())),
        A::LongString(text) => json!(clean(String::from_utf8_lossy(text.as_bytes()).into_owned())),
        A::FieldArray(values) => values.as_slice().iter().map(self::value).collect(),
        A::Timestamp(seconds) => json!(seconds),
        A::FieldTable(entries) => table(entries),
        A::ByteArray(bytes) => json!(clean(String::from_utf8_lossy(bytes.as_slice()).into_owned())),
        A::Void => Value::Null,
    }
}

/// Postgres keeps no NUL in a text.
pub(crate) fn clean(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// Tells bodies apart that bring no id: FNV-1a over 64 bits, and the length.
fn digest(body: &[u8]) -> String {
    let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("body {hash:016x} of {} bytes", body.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::{FieldArray, LongString};

    fn text(text: &str) -> AMQPValue {
        AMQPValue::LongString(LongString::from(text))
    }

    fn delivery(body: &[u8], headers: FieldTable) -> Delivery {
        let (exchange, queue) = (ShortString::from("dead"), ShortString::from("a_queue"));
        let mut delivery = Delivery::mock(1, exchange, queue, false, body.to_vec());
        delivery.properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("s:1".into());
        delivery
    }

    #[test]
    fn what_the_shuttle_buried_keeps_its_reason_and_the_key_that_it_was_published_with() {
        let mut headers = FieldTable::default();
        headers.insert(DEAD_REASON.into(), text("no such\0order"));
        headers.insert(DEAD_ROUTING_KEY.into(), text("order.created"));
        headers.insert(DEAD_AT.into(), AMQPValue::LongLongInt(1500));
        headers.insert(ORDERING_KEY.into(), text("o1"));
        let letter = Letter::of(
            &delivery(br#"{"id": "e1", "type": "OrderCreated"}"#, headers),
            None,
        );
        assert_eq!(
            (letter.queue.as_str(), letter.event_id.as_str()),
            ("a_queue", "e1")
        );
        assert_eq!(letter.reason, "no such\u{fffd}order");
        assert_eq!(letter.routing_key.as_deref(), Some("order.created"));
        assert_eq!(letter.ordering_key.as_deref(), Some("o1"));
        assert_eq!(letter.event_type.as_deref(), Some("OrderCreated"));
        assert!((letter.died_at_ms - 1500.0).abs() < 0.1);
    }

    #[test]
    fn what_the_broker_dead_lettered_tells_its_reason_too() {
        let mut death = FieldTable::default();
        death.insert("reason".into(), text("delivery_limit"));
        death.insert("time".into(), AMQPValue::Timestamp(7));
        let keys = FieldArray::from(vec![text("order.paid")]);
        death.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
        let mut headers = FieldTable::default();
        headers.insert(
            X_DEATH.into(),
            AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(death)])),
        );
        let letter = Letter::of(&delivery(b"{}", headers), None);
        assert_eq!(letter.reason, "dead-lettered by RabbitMQ: delivery_limit");
        assert_eq!(letter.routing_key.as_deref(), Some("order.paid"));
        assert_eq!(letter.event_id, "message s:1");
        assert!((letter.died_at_ms - 7000.0).abs() < 0.1);
    }

    #[test]
    fn a_body_that_is_not_json_is_kept_as_it_is() {
        let letter = Letter::of(&delivery(b"\xff\x00", FieldTable::default()), None);
        assert_eq!((letter.payload, letter.body.as_slice()), (None, &b"\xff\x00"[..]));
    }
}
