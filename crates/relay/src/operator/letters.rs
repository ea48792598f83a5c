//! Letters of `bridge.dead_letters`: listed, tried again, discarded.

use super::item::{Filter, Item, ItemId};
use super::{Act, OperatorError, Wish, record};
use crate::database::within;
use crate::dead_letters::{DEAD_AT, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, X_DEATH};
use crate::notices::{self, About};
use crate::outbox::message::ORDERING_KEY;
use crate::topology::Topology;
use crash_points::{Point, through};
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

/// How long the broker may take to confirm.
const PATIENCE: Duration = Duration::from_secs(15);
/// Delivery mode 2: the broker keeps it on disk.
const PERSISTENT: u8 = 2;

pub(super) async fn list(
    client: &Client,
    topology: &Topology,
    filter: &Filter,
) -> Result<Vec<Item>, OperatorError> {
    let (types, seconds) = (filter.types(), filter.older_than_seconds());
    let sql = include_str!("sql/list_letters.sql");
    let values: [&(dyn ToSql + Sync); 4] = [&topology.correlate_by, &types, &seconds, &filter.about];
    let rows = within(Point::OperatorListed, client.query(sql, &values)).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let queue: String = row.try_get(1)?;
        let service = topology.service_of(&queue).map(str::to_owned);
        if filter.services.is_empty()
            || service
                .as_ref()
                .is_some_and(|service| filter.takes_service(service))
        {
            items.push(Item {
                id: ItemId::Letter(row.try_get(0)?),
                queue,
                service,
                event_id: row.try_get(2)?,
                event_type: row.try_get(3)?,
                about: row.try_get(4)?,
                times: row.try_get(5)?,
                since: row.try_get(6)?,
                reason: row.try_get(7)?,
            });
        }
    }
    Ok(items)
}

/// Publishes the letter to `channel`, if there is one, and marks it, all under its lock. The transaction ends without a
/// commit if anything fails: the letter stays open.
pub(super) async fn act(
    client: &mut Client,
    topology: &Topology,
    id: i64,
    channel: Option<&Channel>,
    act: &Act,
) -> Result<(), OperatorError> {
    let transaction = within(Point::OperatorBegun, client.transaction()).await?;
    let lock = include_str!("sql/lock_letter.sql");
    let rows = within(Point::OperatorLocked, transaction.query(lock, &[&id])).await?;
    let row = rows.first().ok_or(OperatorError::NotOpen)?;
    let letter = Letter::read(row)?;
    if let Some(channel) = channel {
        timeout(PATIENCE, letter.publish(channel))
            .await
            .map_err(|_| OperatorError::Broker("RabbitMQ did not confirm it in time".to_owned()))??;
    }
    let resolution = if channel.is_some() {
        Wish::Retry
    } else {
        Wish::Discard
    }
    .past();
    let notice = topology
        .correlate_by
        .as_deref()
        .and_then(|field| letter.notice(field, resolution));
    let notices = notices::rows(notice);
    let resolve = include_str!("sql/resolve_letter.sql");
    within(
        Point::OperatorChanged,
        transaction.execute(resolve, &[&id, &resolution, &notices]),
    )
    .await?;
    let subject = ItemId::Letter(id).to_string();
    record(&transaction, act, resolution, &subject, Some(&letter.event_id)).await?;
    within(Point::OperatorCommitted, transaction.commit()).await?;
    Ok(())
}

/// What a letter is published from.
struct Letter {
    queue: String,
    event_id: String,
    event_type: Option<String>,
    routing_key: Option<String>,
    ordering_key: Option<String>,
    body: Vec<u8>,
    properties: Value,
    headers: Value,
}

impl Letter {
    fn read(row: &Row) -> Result<Self, OperatorError> {
        Ok(Self {
            queue: row.try_get(0)?,
            event_id: row.try_get(1)?,
            event_type: row.try_get(2)?,
            routing_key: row.try_get(3)?,
            ordering_key: row.try_get(4)?,
            body: row.try_get(5)?,
            properties: row.try_get(6)?,
            headers: row.try_get(7)?,
        })
    }

    fn notice(&self, field: &str, resolution: &str) -> Option<notices::Notice> {
        let event: Value = serde_json::from_slice(&self.body).ok()?;
        let about = About::of(&event, field)?;
        let event_type = self.event_type.as_deref();
        Some(notices::resolved(&about, event_type, &self.queue, resolution))
    }

    /// To the queue that it died in and to no other, by the default exchange.
    async fn publish(&self, channel: &Channel) -> Result<(), OperatorError> {
        let lost = |error: lapin::Error| OperatorError::Broker(format!("RabbitMQ: {error}"));
        let mandatory = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let published = channel.basic_publish(
            ShortString::default(),
            short(&self.queue)?,
            mandatory,
            &self.body,
            self.properties()?,
        );
        let confirm = through(Point::OperatorPublished, published).await.map_err(lost)?;
        match through(Point::OperatorConfirmed, confirm).await.map_err(lost)? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(OperatorError::Broker(format!(
                "RabbitMQ has no queue {:?}",
                self.queue
            ))),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(OperatorError::Broker("RabbitMQ refuses it for now".to_owned()))
            }
        }
    }

    /// As it was published at first. What its death left behind is gone, except the routing key that it had.
    fn properties(&self) -> Result<BasicProperties, OperatorError> {
        let mut headers = FieldTable::default();
        for (name, value) in self.headers.as_object().into_iter().flatten() {
            if !is_of_a_death(name) {
                headers.insert(short(name)?, amqp(value)?);
            }
        }
        let text = |text: &str| AMQPValue::LongString(LongString::from(text));
        if let Some(key) = &self.routing_key {
            headers.insert(ShortString::from(DEAD_ROUTING_KEY), text(key));
        }
        if let Some(key) = self
            .ordering_key
            .as_ref()
            .filter(|_| !headers.contains_key(ORDERING_KEY))
        {
            headers.insert(ShortString::from(ORDERING_KEY), text(key));
        }
        let property = |name: &str| self.properties.get(name).and_then(Value::as_str);
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_headers(headers);
        if let Some(kind) = property("content_type") {
            properties = properties.with_content_type(short(kind)?);
        }
        if let Some(id) = property("message_id") {
            properties = properties.with_message_id(short(id)?);
        }
        if let Some(kind) = property("type") {
            properties = properties.with_type(short(kind)?);
        }
        Ok(properties)
    }
}

/// Headers that a death writes, ours or the broker's: a later one must not find them.
fn is_of_a_death(name: &str) -> bool {
    let brokers = ["x-first-death-", "x-last-death-"];
    [
        DEAD_REASON,
        DEAD_QUEUE,
        DEAD_AT,
        X_DEATH,
        "x-delivery-count",
        "x-acquired-count",
    ]
    .contains(&name)
        || brokers.iter().any(|prefix| name.starts_with(prefix))
}

fn short(text: &str) -> Result<ShortString, OperatorError> {
    ShortString::try_new(text)
        .map_err(|_| OperatorError::Broker("a name in it is longer than 255 bytes".to_owned()))
}

fn amqp(value: &Value) -> Result<AMQPValue, OperatorError> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => AMQPValue::LongLongInt(number),
            None => AMQPValue::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        Value::Array(values) => {
            let values: Result<Vec<AMQPValue>, OperatorError> = values.iter().map(amqp).collect();
            AMQPValue::FieldArray(FieldArray::from(values?))
        }
        Value::Object(fields) => {
            let mut table = FieldTable::default();
            for (name, value) in fields {
                table.insert(short(name)?, amqp(value)?);
            }
            AMQPValue::FieldTable(table)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_letter_goes_out_as_it_was_published_without_what_its_death_left_behind() {
        let letter = Letter {
            queue: "q".to_owned(),
            event_id: "e".to_owned(),
            event_type: None,
            routing_key: Some("order.created".to_owned()),
            ordering_key: Some("o1".to_owned()),
            body: Vec::new(),
            properties: json!({"content_type": "application/json", "message_id": "ordering:7", "type": null}),
            headers: json!({
                "traceparent": "00-a-b-01", "dead-reason": "no", "dead-queue": "q", "dead-at": 5,
                "x-death": [{"count": 1}], "x-first-death-queue": "q", "x-delivery-count": 3,
            }),
        };
        let properties = letter.properties().unwrap();
        let headers = properties.headers().as_ref().unwrap().inner();
        let names: Vec<&str> = headers.keys().map(ShortString::as_str).collect();
        assert_eq!(names, [DEAD_ROUTING_KEY, ORDERING_KEY, "traceparent"]);
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "ordering:7");
        assert_eq!(*properties.delivery_mode(), Some(2));
    }
}
