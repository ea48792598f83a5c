//! The host's metrics, one set per component, so that a request looks up its route at most. Labels are bounded: the
//! components of the manifest, the classes of status codes, few methods, and the routes that a component names, of which
//! so many count. The recorder must be installed before the host starts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::Entry;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, Unit};

use crate::trace;

/// Routes of one component that are told apart. Those of our services are fewer; one that makes them up is cut off.
const MAX_ROUTES: usize = 64;
/// An answer of which no route is known.
const NO_ROUTE: &str = "none";
/// What comes after too many routes.
const OTHER_ROUTE: &str = "other";
/// By this a component says how its circuit breaker to somebody stands: `payment=open`. For the host alone.
const CIRCUIT: HeaderName = HeaderName::from_static("x-shop-circuit");
/// To so many; what is said of others is left out.
const MAX_CIRCUITS: usize = 16;
/// And their names are no longer.
const MAX_CIRCUIT_BYTES: usize = 32;
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What is measured of one component.
pub(crate) struct Meters {
    /// By the first digit of the status: 1xx to 5xx.
    requests: [Counter; 5],
    duration: Histogram,
    component: Arc<str>,
    routes: Mutex<Routes>,
    circuits: Mutex<HashMap<String, Gauge>>,
    pub(crate) instances: Gauge,
    pub(crate) instantiations: Counter,
    pub(crate) traps: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) rejections: Counter,
    abandoned: Counter,
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
            circuits: Mutex::default(),
            instances: metrics::gauge!("embedded_host_instances", "component" => name()),
            instantiations: metrics::counter!("embedded_host_instantiations_total", "component" => name()),
            traps: metrics::counter!("embedded_host_traps_total", "component" => name()),
            timeouts: metrics::counter!("embedded_host_timeouts_total", "component" => name()),
            rejections: metrics::counter!("embedded_host_rejections_total", "component" => name()),
            abandoned: metrics::counter!("embedded_host_abandoned_total", "component" => name()),
            postgres_limit: metrics::gauge!("embedded_host_postgres_connections_limit", "component" => name()),
        }
    }

    /// A request whose client did not wait for the answer.
    pub(crate) fn abandoned(&self, after: Duration) {
        self.abandoned.increment(1);
        self.duration.record(after.as_secs_f64());
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

impl Meters {
    /// Takes out of an answer's head what the component says of its circuit breakers.
    pub(crate) fn circuits(&self, headers: &mut HeaderMap) {
        let Entry::Occupied(said) = headers.entry(CIRCUIT) else {
            return;
        };
        let (_, said) = said.remove_entry_mult();
        for value in said {
            if let Some((service, state)) = value.to_str().ok().and_then(circuit_state) {
                self.set_circuit(service, state);
            }
        }
    }

    fn set_circuit(&self, service: &str, state: f64) {
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        if circuits.len() >= MAX_CIRCUITS && !circuits.contains_key(service) {
            return;
        }
        let gauge = circuits.entry(service.to_owned()).or_insert_with(|| {
            metrics::gauge!(
                "embedded_host_circuit_state",
                "component" => self.component.to_string(), "service" => service.to_owned()
            )
        });
        gauge.set(state);
    }
}

/// Whose circuit it is, and its state as the gauge has it.
fn circuit_state(said: &str) -> Option<(&str, f64)> {
    let (service, state) = said.split_once('=')?;
    let state = match state {
        "closed" => 0.0,
        "half-open" => 1.0,
        "open" => 2.0,
        _ => return None,
    };
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_short = (1..=MAX_CIRCUIT_BYTES).contains(&service.len());
    (is_short && service.bytes().all(is_name)).then_some((service, state))
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
    metrics::describe_gauge!(
        "embedded_host_circuit_state",
        "A component's circuit breaker to a service as it last said: 0 closed, 1 half-open, 2 open"
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
        "embedded_host_abandoned_total",
        "Requests whose client went away before there was an answer"
    );
    metrics::describe_counter!(
        "embedded_host_refusals_total",
        "Connections ended with a problem before there was a request, by its type"
    );
    metrics::describe_gauge!(
        "embedded_host_postgres_connections_in_use",
        "Postgres connections that guests hold, by component and login"
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
    fn what_is_said_of_a_circuit_is_a_name_and_a_state() {
        assert_eq!(circuit_state("payment=open"), Some(("payment", 2.0)));
        assert_eq!(circuit_state("payment=closed"), Some(("payment", 0.0)));
        let long = format!("{}=open", "x".repeat(MAX_CIRCUIT_BYTES + 1));
        for said in ["", "payment", "payment=ajar", "=open", "pay ment=open", &long] {
            assert_eq!(circuit_state(said), None, "{said}");
        }
    }

    #[test]
    fn a_component_that_makes_up_circuits_makes_up_a_bounded_number_of_series() {
        let meters = Meters::of("wild");
        for number in 0..100 {
            let mut headers = HeaderMap::new();
            headers.insert(CIRCUIT, format!("s{number}=open").try_into().unwrap());
            meters.circuits(&mut headers);
            assert!(headers.is_empty());
        }
        assert_eq!(meters.circuits.lock().unwrap().len(), MAX_CIRCUITS);
    }

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
