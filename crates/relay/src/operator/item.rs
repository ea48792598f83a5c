//! What waits for an operator: how it is named, listed and chosen.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The name of something that waits, stable and printable: `letter:45` or `outbox:ordering:123`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemId {
    /// A row of `bridge.dead_letters`.
    Letter(i64),
    /// A row of a service's outbox.
    Parked { service: String, id: i64 },
}

/// A text that names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has the form letter:45 or outbox:ordering:123")]
pub struct InvalidId;

impl FromStr for ItemId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number = |digits: &str| digits.parse().map_err(|_| InvalidId);
        if let Some(digits) = text.strip_prefix("letter:") {
            return Ok(Self::Letter(number(digits)?));
        }
        let rest = text.strip_prefix("outbox:").ok_or(InvalidId)?;
        let (service, digits) = rest.split_once(':').ok_or(InvalidId)?;
        let service = service.to_owned();
        Ok(Self::Parked {
            service,
            id: number(digits)?,
        })
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(id) => write!(formatter, "letter:{id}"),
            Self::Parked { service, id } => write!(formatter, "outbox:{service}:{id}"),
        }
    }
}

impl Serialize for ItemId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which of those that wait are meant. An empty filter lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these services: the one that the queue feeds, or whose outbox it is.
    pub services: Vec<String>,
    /// Of these event types.
    pub types: Vec<String>,
    /// That wait for longer than this.
    pub older_than: Option<Duration>,
    /// About this, by the topology's `correlate_by`.
    pub about: Option<String>,
}

impl Filter {
    pub(super) fn takes_service(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.iter().any(|wanted| wanted == service)
    }

    /// Null for no choice, as the statements have it.
    pub(super) fn types(&self) -> Option<&[String]> {
        (!self.types.is_empty()).then_some(self.types.as_slice())
    }

    pub(super) fn older_than_seconds(&self) -> f64 {
        self.older_than.unwrap_or_default().as_secs_f64()
    }
}

/// Something that waits.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    pub id: ItemId,
    /// The queue that it died in, or `outbox:<service>`.
    pub queue: String,
    /// The service that the queue feeds, or whose outbox it is; `None` of a queue that the topology does not have.
    pub service: Option<String>,
    pub event_id: String,
    pub event_type: Option<String>,
    /// What the event is about, by the topology's `correlate_by`.
    pub about: Option<String>,
    /// How often it died, or how often it could not be published.
    pub times: i32,
    /// When it died, or was parked.
    pub since: DateTime<Utc>,
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_was_written() {
        for text in ["letter:45", "outbox:ordering:123"] {
            assert_eq!(text.parse::<ItemId>().unwrap().to_string(), text);
        }
        for text in [
            "45",
            "letter:",
            "letter:x",
            "outbox:ordering",
            "outbox:ordering:",
            "parcel:1",
        ] {
            assert_eq!(text.parse::<ItemId>(), Err(InvalidId), "{text}");
        }
    }
}
