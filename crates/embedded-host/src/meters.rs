//! The host's metrics, one set per component, so that a request looks nothing up. Labels are bounded: the
//! components of the manifest, and the classes of status codes. The recorder must be installed before the host
//! starts.

use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Unit};

/// What is measured of one component.
pub(crate) struct Meters {
    /// By the first digit of the status: 1xx to 5xx.
    requests: [Counter; 5],
    duration: Histogram,
    pub(crate) instances: Gauge,
    pub(crate) instantiations: Counter,
    pub(crate) traps: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) rejections: Counter,
    pub(crate) postgres_in_use: Gauge,
}

impl Meters {
    pub(crate) fn of(component: &str) -> Meters {
        let name = || component.to_owned();
        let requests = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|status| {
            metrics::counter!("embedded_host_requests_total", "component" => name(), "status" => status)
        });
        Meters {
            requests,
            duration: metrics::histogram!("embedded_host_request_duration_seconds", "component" => name()),
            instances: metrics::gauge!("embedded_host_instances", "component" => name()),
            instantiations: metrics::counter!("embedded_host_instantiations_total", "component" => name()),
            traps: metrics::counter!("embedded_host_traps_total", "component" => name()),
            timeouts: metrics::counter!("embedded_host_timeouts_total", "component" => name()),
            rejections: metrics::counter!("embedded_host_rejections_total", "component" => name()),
            postgres_in_use: metrics::gauge!("embedded_host_postgres_connections_in_use", "component" => name()),
        }
    }

    pub(crate) fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.requests.get(class) {
            counter.increment(1);
        }
        self.duration.record(took.as_secs_f64());
    }
}

/// Units and help texts, once.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "embedded_host_requests_total",
        "Requests answered, by component and status class"
    );
    metrics::describe_histogram!(
        "embedded_host_request_duration_seconds",
        Unit::Seconds,
        "From the arrival of a request's head to that of its answer"
    );
    metrics::describe_gauge!("embedded_host_instances", "Instances alive");
    metrics::describe_counter!("embedded_host_instantiations_total", "Instances made");
    metrics::describe_counter!("embedded_host_traps_total", "Instances that ended in a trap");
    metrics::describe_counter!(
        "embedded_host_timeouts_total",
        "Requests that were not answered in time"
    );
    metrics::describe_counter!(
        "embedded_host_rejections_total",
        "Requests refused because of too many"
    );
    metrics::describe_counter!(
        "embedded_host_refusals_total",
        "Connections ended with a problem before there was a request, by its type"
    );
    metrics::describe_gauge!(
        "embedded_host_postgres_connections_in_use",
        "Postgres connections that guests hold"
    );
}
