//! How events travel from the bridge to a service: a signed batch of CloudEvents, and an answer with one outcome
//! per event. Pure: no I/O, no clock, nothing of any application.
//!
//! The batch is the JSON Batch Format of CloudEvents 1.0; the signature is that of Standard Webhooks 1.0.

mod answer;
mod event;
mod signature;

pub use answer::{BatchAnswer, EventResult, Outcome};
pub use event::{CloudEvent, InvalidEvent};
pub use signature::{InvalidKey, SignatureError, SignatureHeaders, SigningKey, TOLERANCE_SECONDS};

/// Media type of a batch (CloudEvents 1.0, JSON Event Format, section 4).
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// Media type of one event in structured mode (CloudEvents 1.0, JSON Event Format, section 3).
pub const EVENT_CONTENT_TYPE: &str = "application/cloudevents+json";

/// The most events that one batch holds.
pub const MAX_BATCH_EVENTS: usize = 100;

/// The size at which a batch is full, in bytes of JSON.
pub const FULL_BATCH_BYTES: usize = 512 * 1024;

/// The largest batch that a service takes, in bytes: one event may be larger than a full batch.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;
