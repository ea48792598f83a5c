//! What a service says of each event of a batch.

use serde::{Deserialize, Serialize};

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its effect is committed.
    Processed,
    /// Its effect was committed earlier.
    Duplicate,
    /// It cannot be handled now; the same event is to come again. Never counted as a failure.
    Retry,
    /// It can never be handled; it belongs among the dead letters.
    Rejected,
}

impl Outcome {
    /// The spelling on the wire, also fit for a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Duplicate => "duplicate",
            Self::Retry => "retry",
            Self::Rejected => "rejected",
        }
    }
}

/// The outcome of the event with this id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventResult {
    pub id: String,
    pub outcome: Outcome,
    /// Why, for an operator to read: with `retry` and `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The body of the 200 answer to a batch: an outcome for every event of it, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    pub results: Vec<EventResult>,
}
