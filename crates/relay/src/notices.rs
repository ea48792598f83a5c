//! What the bridge itself tells: that an event became a dead letter, and that somebody looked at it. Of the application
//! it knows what the topology says: the field of an event's data that tells what the event is about.

use crate::dead_letters::clean;
use crate::topology::BRIDGE;
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// An event of the bridge's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub event_type: &'static str,
    pub routing_key: &'static str,
}

/// An event became a dead letter.
pub const DEAD_LETTERED: Kind = Kind {
    event_type: "EventDeadLettered",
    routing_key: "bridge.dead_lettered",
};

/// An operator has dealt with a dead letter.
pub const RESOLVED: Kind = Kind {
    event_type: "DeadLetterResolved",
    routing_key: "bridge.dead_letter_resolved",
};

const SCHEMA_VERSION: u64 = 1;
/// A type is a name; of a longer one the rest is cut off.
const LONGEST_TYPE: usize = 255;

/// What a dead event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    field: String,
    id: Uuid,
    traceparent: Option<String>,
}

impl About {
    /// What `event`, a CloudEvent, is about: the value of the field of its data. `None` if that is no UUID, and of the
    /// bridge's own events, so that it never tells of itself.
    #[must_use]
    pub fn of(event: &Value, field: &str) -> Option<Self> {
        if event.get("source").and_then(Value::as_str) == Some(BRIDGE) {
            return None;
        }
        let id = event.get("data")?.get(field)?.as_str()?;
        let trace = event.get("traceparent").and_then(Value::as_str);
        Some(Self::new(field, Uuid::parse_str(id).ok()?, trace))
    }

    pub(crate) fn new(field: &str, id: Uuid, traceparent: Option<&str>) -> Self {
        let whole = |text: &&str| text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic());
        Self {
            field: field.to_owned(),
            id,
            traceparent: traceparent.filter(whole).map(str::to_owned),
        }
    }

    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }
}

/// An event on its way into the bridge's own outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    kind: Kind,
    about: Uuid,
    /// The whole CloudEvent.
    pub event: Value,
}

/// Says that an event died in `queue`. A row that parked died in its outbox, `outbox:<service>`.
#[must_use]
pub fn dead_lettered(about: &About, event_type: Option<&str>, queue: &str) -> Notice {
    notice(DEAD_LETTERED, about, event_type, queue, None)
}

/// Says what an operator did with it: `retried` or `discarded`.
#[must_use]
pub fn resolved(about: &About, event_type: Option<&str>, queue: &str, resolution: &str) -> Notice {
    notice(RESOLVED, about, event_type, queue, Some(resolution))
}

fn notice(
    kind: Kind,
    about: &About,
    event_type: Option<&str>,
    queue: &str,
    resolution: Option<&str>,
) -> Notice {
    let event_type = event_type.map(|name| clean(name.chars().take(LONGEST_TYPE).collect()));
    let mut data = Map::from_iter([
        (about.field.clone(), json!(about.id)),
        ("event_type".to_owned(), json!(event_type)),
        ("queue".to_owned(), json!(queue)),
        ("schema_version".to_owned(), json!(SCHEMA_VERSION)),
    ]);
    if let Some(resolution) = resolution {
        data.insert("resolution".to_owned(), json!(resolution));
    }
    let mut event = json!({
        "specversion": "1.0",
        "id": Uuid::now_v7(),
        "source": BRIDGE,
        "type": kind.event_type,
        "subject": about.id,
        "time": Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        "datacontenttype": "application/json",
        "data": data,
    });
    if let Some(traceparent) = about.traceparent() {
        event["traceparent"] = json!(traceparent);
    }
    let about = about.id;
    Notice { kind, about, event }
}

/// As the statements read them that write them into the bridge's outbox.
pub(crate) fn rows(notices: impl IntoIterator<Item = Notice>) -> String {
    let row = |notice: Notice| {
        let traceparent = notice.event.get("traceparent");
        json!({
            "event_id": notice.event["id"],
            "event_type": notice.kind.event_type,
            "routing_key": notice.kind.routing_key,
            "about": notice.about,
            "headers": traceparent.map_or_else(|| json!({}), |trace| json!({ "traceparent": trace })),
            "payload": notice.event,
        })
    };
    notices.into_iter().map(row).collect::<Value>().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_about_what_the_named_field_of_its_data_says() {
        let id = Uuid::now_v7();
        let event = json!({"source": "ordering", "traceparent": "00-a-b-01", "data": {"order_id": id}});
        let about = About::of(&event, "order_id").unwrap();
        assert_eq!((about.id(), about.traceparent()), (id, Some("00-a-b-01")));
        for other in [
            json!({"source": "ordering", "data": {"order_id": "the first"}}),
            json!({"source": "ordering", "data": {}}),
            json!({"source": "ordering"}),
            json!([]),
            json!({"source": "bridge", "data": {"order_id": id}}),
        ] {
            assert_eq!(About::of(&other, "order_id"), None, "{other}");
        }
    }

    #[test]
    fn a_notice_carries_the_trace_on_and_says_what_became_of_the_letter() {
        let about = About::new("order_id", Uuid::now_v7(), Some("00-a-b-01"));
        let notice = resolved(&about, Some("OrderPaid"), "delivery_order_events", "retried");
        assert_eq!(notice.event["data"]["order_id"], json!(about.id()));
        assert_eq!(notice.event["data"]["resolution"], "retried");
        assert_eq!(notice.event["traceparent"], "00-a-b-01");
        assert_eq!(notice.event["subject"], json!(about.id()));
        let notice = dead_lettered(&about, None, "q");
        assert_eq!(notice.event["data"].get("resolution"), None);
        assert_eq!(notice.event["data"]["event_type"], Value::Null);
    }
}
