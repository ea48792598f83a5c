//! A row of the outbox as an AMQP message. What AMQP cannot carry is refused here, before it can break a connection.

use super::window::Row;
use crate::topology::Topology;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use std::collections::BTreeMap;

/// The header that carries the ordering key to the shuttle.
pub(crate) const ORDERING_KEY: &str = "ordering-key";
/// Delivery mode 2: the broker keeps it on disk.
const PERSISTENT: u8 = 2;
/// All headers together must fit into one AMQP frame, whose usual size is 128 KiB.
const MOST_HEADER_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) routing_key: ShortString,
    /// Whether it is to come back if no queue takes it.
    pub(crate) mandatory: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) body: String,
}

/// What the row of this id is published as, and recognised by when it comes back.
pub(super) fn message_id(service: &str, id: i64) -> String {
    format!("{service}:{id}")
}

/// The message of a row.
///
/// # Errors
/// With the reason, if the row cannot be put into a message.
pub(super) fn encode(service: &str, topology: &Topology, row: &Row) -> Result<Message, String> {
    let body = row
        .body
        .clone()
        .ok_or("the event is larger than any service would take")?;
    let properties = BasicProperties::default()
        .with_content_type(ShortString::from(event_batch::EVENT_CONTENT_TYPE))
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short("message id", &message_id(service, row.id))?)
        .with_type(short("event_type", &row.event_type)?)
        .with_headers(headers(row)?);
    Ok(Message {
        routing_key: short("routing_key", &row.routing_key)?,
        mandatory: !topology.is_unconsumed(&row.routing_key),
        properties,
        body,
    })
}

fn headers(row: &Row) -> Result<FieldTable, String> {
    let strings: BTreeMap<String, String> =
        serde_json::from_str(&row.headers).map_err(|_| "headers are not an object of strings")?;
    let bytes: usize = strings
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8)
        .sum();
    if bytes + row.ordering_key.len() > MOST_HEADER_BYTES {
        return Err(format!(
            "headers and ordering_key are larger than {MOST_HEADER_BYTES} bytes"
        ));
    }
    let mut table = FieldTable::default();
    for (name, value) in strings {
        let value = AMQPValue::LongString(LongString::from(value));
        table.insert(short("a header's name", &name)?, value);
    }
    let key = AMQPValue::LongString(LongString::from(row.ordering_key.as_str()));
    table.insert(ShortString::from(ORDERING_KEY), key);
    Ok(table)
}

fn short(what: &str, text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| format!("{what} is longer than 255 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        let text = "exchange = \"e\"\ndead_letters = \"d\"\nunconsumed = [\"order.completed\"]";
        Topology::parse(text).unwrap()
    }

    fn row() -> Row {
        Row {
            id: 7,
            due_at: std::time::SystemTime::UNIX_EPOCH,
            event_type: "OrderCreated".to_owned(),
            routing_key: "order.created".to_owned(),
            ordering_key: "o1".to_owned(),
            partition: 3,
            body: Some("{\"id\": \"e\"}".to_owned()),
            headers: "{\"traceparent\": \"00-a-b-01\"}".to_owned(),
        }
    }

    #[test]
    fn a_row_becomes_a_persistent_message_that_is_recognised_by_service_and_id() {
        let message = encode("ordering", &topology(), &row()).unwrap();
        let properties = message.properties;
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "ordering:7");
        assert_eq!(properties.kind().as_ref().unwrap().as_str(), "OrderCreated");
        assert_eq!(*properties.delivery_mode(), Some(2));
        let headers = properties.headers().as_ref().unwrap().inner();
        assert_eq!(headers.len(), 2);
        assert!(headers.contains_key(ORDERING_KEY) && headers.contains_key("traceparent"));
        assert!(message.mandatory);
    }

    #[test]
    fn only_what_the_topology_lets_go_unconsumed_may_reach_no_queue() {
        let row = Row {
            routing_key: "order.completed".to_owned(),
            ..row()
        };
        assert!(!encode("ordering", &topology(), &row).unwrap().mandatory);
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused_with_its_reason() {
        let long = "x".repeat(256);
        for (row, expected) in [
            (
                Row {
                    routing_key: long.clone(),
                    ..row()
                },
                "routing_key",
            ),
            (
                Row {
                    event_type: long.clone(),
                    ..row()
                },
                "event_type",
            ),
            (
                Row {
                    headers: "[]".to_owned(),
                    ..row()
                },
                "headers",
            ),
            (
                Row {
                    headers: "{\"a\": 1}".to_owned(),
                    ..row()
                },
                "headers",
            ),
            (
                Row {
                    ordering_key: "k".repeat(70_000),
                    ..row()
                },
                "ordering_key",
            ),
            (Row { body: None, ..row() }, "larger"),
        ] {
            let reason = encode("ordering", &topology(), &row).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
