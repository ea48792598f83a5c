//! The envelope that every event wears.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event in the JSON format of CloudEvents 1.0. Attributes that are not named here are ignored when read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique for its source; the key under which consumers recognise a duplicate.
    pub id: String,
    /// Who says it: the service's name.
    pub source: String,
    /// What happened: `OrderCreated`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// To what it happened: the aggregate's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, as RFC 3339 writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The trace that it belongs to (W3C Trace Context; CloudEvents' distributed-tracing extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(default = "json", skip_serializing_if = "String::is_empty")]
    pub datacontenttype: String,
    /// The payload, whose shape `type` decides.
    pub data: Value,
}

fn json() -> String {
    "application/json".to_owned()
}

/// A body that is no CloudEvent.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEvent {
    #[error("not a CloudEvent in JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("specversion is {0:?}, not \"1.0\"")]
    Version(String),
    #[error("the attribute {0} is empty")]
    Empty(&'static str),
}

impl CloudEvent {
    /// The only version of the specification that is spoken here.
    pub const SPECVERSION: &'static str = "1.0";

    /// Reads one event of a batch.
    ///
    /// # Errors
    /// If `value` lacks a required attribute, leaves one empty, or is of another version.
    pub fn from_value(value: Value) -> Result<Self, InvalidEvent> {
        let event: Self = serde_json::from_value(value)?;
        if event.specversion != Self::SPECVERSION {
            return Err(InvalidEvent::Version(event.specversion));
        }
        for (name, attribute) in [
            ("id", &event.id),
            ("source", &event.source),
            ("type", &event.event_type),
        ] {
            if attribute.is_empty() {
                return Err(InvalidEvent::Empty(name));
            }
        }
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn unknown_attributes_are_ignored() {
        let event = CloudEvent::from_value(json!({
            "specversion": "1.0", "id": "1", "source": "ordering", "type": "OrderCreated", "data": {}, "colour": "red",
        }));
        assert_eq!(event.unwrap().event_type, "OrderCreated");
    }

    #[test]
    fn another_version_an_empty_id_and_a_missing_type_are_refused() {
        let other = json!({"specversion": "0.3", "id": "1", "source": "s", "type": "t", "data": {}});
        let empty = json!({"specversion": "1.0", "id": "", "source": "s", "type": "t", "data": {}});
        let missing = json!({"specversion": "1.0", "id": "1", "source": "s", "data": {}});
        for value in [other, empty, missing] {
            assert!(CloudEvent::from_value(value).is_err());
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            let name = prop_oneof!["[a-z]{1,6}", "specversion|id|source|type|data|time|subject"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_does_harm(value in any_json()) {
            let _ = CloudEvent::from_value(value);
        }

        #[test]
        fn an_event_reads_as_it_was_written(
            texts in proptest::array::uniform3(".{1,20}"),
            optional in proptest::array::uniform3(proptest::option::of(".{0,20}")),
            data in any_json(),
        ) {
            let ([id, source, event_type], [subject, time, traceparent]) = (texts, optional);
            let event = CloudEvent {
                specversion: CloudEvent::SPECVERSION.to_owned(),
                id, source, event_type, subject, time, traceparent,
                datacontenttype: json(),
                data,
            };
            let text = serde_json::to_vec(&event).unwrap();
            let read = CloudEvent::from_value(serde_json::from_slice(&text).unwrap()).unwrap();
            prop_assert_eq!(read, event);
        }
    }
}
