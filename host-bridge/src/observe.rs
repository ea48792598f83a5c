//! Logs, as JSON on stderr, and metrics, for Prometheus to fetch.

use anyhow::{Context, anyhow};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::net::SocketAddr;
use tracing_subscriber::EnvFilter;

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
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
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
