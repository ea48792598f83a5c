//! Logs, as JSON on stderr; metrics, for Prometheus to fetch; and spans, for a collector.

use crate::cli::ProcessArgs;
use anyhow::{Context, anyhow};
use chrono::{SecondsFormat, Utc};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Map, Value};
use spans::Exporter;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What the services of all spans belong to.
const NAMESPACE: &str = "flower-shop";

/// How long the last spans may take to reach the collector.
const SPANS_PATIENCE: Duration = Duration::from_secs(2);

/// lapin logs each failure of a connection at every attempt, and whole messages that come back; the bridge says the
/// same once, and without their content.
const QUIET: &str = "lapin=off,refinery_core=warn";

/// From a millisecond, which is a confirm, to half a minute, which is the longest a request may take.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

pub(crate) fn log(filter: &str) -> anyhow::Result<()> {
    let directives = format!("{QUIET},{filter}");
    let filter = EnvFilter::try_new(directives).with_context(|| format!("--log-level {filter:?}"))?;
    let logs = tracing_subscriber::fmt()
        .event_format(Line)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    logs.try_init().map_err(|error| anyhow!("logs: {error}"))
}

/// Must be called in a runtime, and before anything records a metric.
pub(crate) fn metrics(listen: SocketAddr) -> anyhow::Result<()> {
    PrometheusBuilder::new()
        .with_http_listener(listen)
        .set_buckets(&BUCKETS)
        .and_then(PrometheusBuilder::install)
        .map_err(|error| anyhow!("cannot serve metrics on {listen}: {error}"))?;
    relay::describe_metrics();
    Ok(())
}

/// Spans, if it is said where to; to be called after `metrics`, and ended by [`end`].
pub(crate) fn spans(process: &ProcessArgs) -> anyhow::Result<Option<Exporter>> {
    let Some(endpoint) = process.otlp_endpoint.clone().filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    spans::describe();
    let settings = spans::Settings {
        endpoint,
        namespace: NAMESPACE.to_owned(),
        ratio: process.trace_ratio,
    };
    let exporter = spans::install(&settings).map_err(|reason| anyhow!("--otlp-endpoint: {reason}"))?;
    Ok(Some(exporter))
}

/// Sends the last spans.
pub(crate) async fn end(exporter: Option<Exporter>) {
    if let Some(exporter) = exporter {
        exporter.drain(SPANS_PATIENCE).await;
    }
}

/// The one shape of all log lines, that of components included: an object with `timestamp`, `level`, `service` and
/// `message`, and whatever else is known. `service` is whom the line is about, or this process.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        fields.set("service", "host-bridge");
        event.record(&mut fields);
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        fields.set("timestamp", now);
        fields.set("level", event.metadata().level().as_str());
        fields.set("target", event.metadata().target());
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

/// The fields of an event, by their names.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Kept;

        fn make_writer(&'a self) -> Kept {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_object_that_says_when_how_bad_whose_and_what() {
        let kept = Kept::default();
        let logs = tracing_subscriber::fmt()
            .event_format(Line)
            .with_writer(kept.clone());
        tracing::subscriber::with_default(logs.finish(), || {
            tracing::warn!(queue = "a\nb", attempts = 3, known = true, "dead letter");
            tracing::info!(service = "ordering", reason = %"late", "waits");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["level"], &lines[0]["service"], &lines[0]["message"]),
            (&"WARN".into(), &"host-bridge".into(), &"dead letter".into())
        );
        assert_eq!(
            (&lines[0]["queue"], &lines[0]["attempts"], &lines[0]["known"]),
            (&"a\nb".into(), &3.into(), &true.into())
        );
        assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(
            (&lines[1]["service"], &lines[1]["reason"]),
            (&"ordering".into(), &"late".into())
        );
    }
}
