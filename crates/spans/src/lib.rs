//! Spans of the native processes, and their way to a collector: OTLP over HTTP, in JSON.
//!
//! A span is begun with the context that the work came with and ends when it is dropped. What was sampled goes through
//! a bounded queue to one task, which sends it in batches; a full queue and a collector that is away cost spans, never
//! time. Without [`install`] nothing is recorded, nothing is passed on, and a span costs one atomic load.
//!
//! The OpenTelemetry SDK would do the same, with a thread of its own, a blocking HTTP client, and protobuf types; what is
//! needed of it here is an id, a flag and a dozen JSON fields.

mod context;
mod exporter;
mod otlp;
mod span;

pub use context::Context;
pub use exporter::{Exporter, Settings, install, is_on};
pub use span::{Kind, Span, Value};

/// Gives every metric of this crate its help text. Needs the recorder to be installed already.
pub fn describe() {
    metrics::describe_counter!("spans_exported_total", "Spans that the collector has taken");
    metrics::describe_counter!(
        "spans_dropped_total",
        "Spans that were lost: the queue was full, or the collector did not take them"
    );
}
