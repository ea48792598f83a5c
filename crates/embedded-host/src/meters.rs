//! The host's metrics, one set per component, so that a request looks up its route at most. Labels are bounded: the
//! components of the manifest, the classes of status codes, few methods, and the routes that a component names, of which
//! so many count. The recorder must be installed before the host starts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, Unit};

use crate::trace;

/// Routes of one component that are told apart. Those of our services are fewer; one that makes them up is cut off.
const MAX_ROUTES: usize = 64;
/// An answer of which no route is known: of no service, or of the gateway, which has none of its own.
const NO_ROUTE: &str = "none";
/// What comes after too many routes.
const OTHER_ROUTE: &str = "other";
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What is measured of one component.
pub(crate) struct Meters {
    /// By the first digit of the status: 1xx to 5xx.
    requests: [Counter; 5],
    duration: Histogram,
    component: Arc<str>,
    routes: Mutex<Routes>,
    pub(crate) instances: Gauge,
    pub(crate) instantiations: Counter,
    pub(crate) traps: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) rejections: Counter,
    pub(crate) postgres_in_use: Gauge,
    pub(crate) postgres_limit: Gauge,
}

impl Meters {
    pub(crate) fn of(component: &str) -> Meters {
        let name = || component.to_owned();
        let requests = CLASSES.map(|status| {
            metrics::counter!("embedded_host_requests_total", "component" => name(), "status" => status)
        });
        Meters {
            requests,
            duration: metrics::histogram!("embedded_host_request_duration_seconds", "component" => name()),
            component: component.into(),
            routes: Mutex::default(),
            instances: metrics::gauge!("embedded_host_instances", "component" => name()),
            instantiations: metrics::counter!("embedded_host_instantiations_total", "component" => name()),
            traps: metrics::counter!("embedded_host_traps_total", "component" => name()),
            timeouts: metrics::counter!("embedded_host_timeouts_total", "component" => name()),
            rejections: metrics::counter!("embedded_host_rejections_total", "component" => name()),
            postgres_in_use: metrics::gauge!("embedded_host_postgres_connections_in_use", "component" => name()),
            postgres_limit: metrics::gauge!("embedded_host_postgres_connections_limit", "component" => name()),
        }
    }

    /// An answer to `method`, by the component's route `route` if it named one.
    pub(crate) fn answered(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.requests.get(class) {
            counter.increment(1);
        }
        self.duration.record(took.as_secs_f64());
        let (method, route) = (trace::method(method), route.unwrap_or(NO_ROUTE));
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_route = routes.of(&self.component, method, route);
        if let Some(counter) = of_route.requests.get(class) {
            counter.increment(1);
        }
        of_route.duration.record(took.as_secs_f64());
    }
}

/// By the route, then by the method.
#[derive(Default)]
struct Routes(HashMap<String, HashMap<&'static str, RouteMeters>>);

struct RouteMeters {
    requests: [Counter; 5],
    duration: Histogram,
}

impl Routes {
    fn of(&mut self, component: &str, method: &'static str, route: &str) -> &RouteMeters {
        let is_full = self.0.len() >= MAX_ROUTES && !self.0.contains_key(route);
        let route = if is_full { OTHER_ROUTE } else { route };
        self.0
            .entry(route.to_owned())
            .or_default()
            .entry(method)
            .or_insert_with(|| RouteMeters::new(component, method, route))
    }
}

impl RouteMeters {
    fn new(component: &str, method: &'static str, route: &str) -> RouteMeters {
        let (component, route) = (component.to_owned(), route.to_owned());
        let requests = CLASSES.map(|status| {
            metrics::counter!(
                "embedded_host_route_requests_total",
                "component" => component.clone(), "method" => method, "route" => route.clone(), "status" => status
            )
        });
        let duration = metrics::histogram!(
            "embedded_host_route_duration_seconds",
            "component" => component.clone(), "method" => method, "route" => route.clone()
        );
        RouteMeters { requests, duration }
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
    metrics::describe_counter!(
        "embedded_host_route_requests_total",
        "Requests answered, by component, method, route template and status class"
    );
    metrics::describe_histogram!(
        "embedded_host_route_duration_seconds",
        Unit::Seconds,
        "From the arrival of a request's head to that of its answer, by component, method and route template"
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
    metrics::describe_gauge!(
        "embedded_host_postgres_connections_limit",
        "As many as they may hold to one address"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_makes_up_routes_makes_up_a_bounded_number_of_series() {
        let mut routes = Routes::default();
        for number in 0..1_000 {
            routes.of("wild", "GET", &format!("/{number}"));
        }
        assert_eq!(routes.0.len(), MAX_ROUTES + 1);
        assert!(routes.0.contains_key(OTHER_ROUTE) && routes.0.contains_key("/0"));
        routes.of("wild", "POST", "/0");
        assert_eq!(routes.0["/0"].len(), 2);
    }
}
