//! The gateway over HTTP: what it lets through and passes on, what it answers itself, and which problem each failure is.

#[cfg(test)]
mod description;
mod own;
mod pages;
mod pass;

use crate::Gateway;
use crate::application::{Refusal, Way, admit, ask_all, count};
use crate::domain::{
    Additions, Draw, Envelope, Errand, Field, Flaw, ROUTE, Route, Service, TooSoon, find, inspect, prefix_of,
    value,
};
use crate::infrastructure::Asking;
use service::config::ConfigError;
use service::log::{self, Level};
use service::{Problem, health};
use spin_sdk::wasip3::http::types::{ErrorCode, Method, Request, Response};

/// One request, as far as every answer to it needs it.
struct Visit<'a> {
    envelope: Envelope,
    additions: Additions,
    /// The client's, without its query.
    path: &'a str,
    /// The template of the route that answers, if there is one and the host asks for it.
    route: Option<&'a str>,
}

/// Answers one request.
///
/// # Errors
/// Never: what goes wrong is an answer, too.
pub async fn handle(gateway: Result<&Gateway, ConfigError>, request: Request) -> Result<Response, ErrorCode> {
    let mut fields = request.get_headers().copy_all();
    let flaw = inspect(&fields).err();
    let is_route_asked = value(&fields, ROUTE).is_some();
    let trusted_proxies = gateway.as_ref().map_or(0, |gateway| gateway.trusted_proxies);
    let is_recorded = || gateway.as_ref().is_ok_and(|gateway| gateway.trace_ratio.draw());
    let envelope = Envelope::open(&mut fields, trusted_proxies, is_recorded);
    let path_with_query = request.get_path_with_query().unwrap_or_default();
    let path = path_with_query.split('?').next().unwrap_or_default();
    let visit = Visit {
        additions: Additions::to(&envelope),
        envelope,
        path,
        route: find(path)
            .filter(|_| is_route_asked)
            .map(|route| route.template(path)),
    };
    let trace = visit.envelope.trace.clone();
    let arrived = Arrived {
        request,
        path_with_query: &path_with_query,
        fields,
        flaw,
    };
    log::within(trace.trace_id(), answer(gateway, visit, arrived)).await
}

/// A request as it came, without its envelope.
struct Arrived<'a> {
    request: Request,
    path_with_query: &'a str,
    fields: Vec<Field>,
    flaw: Option<Flaw>,
}

async fn answer(
    gateway: Result<&Gateway, ConfigError>,
    mut visit: Visit<'_>,
    arrived: Arrived<'_>,
) -> Result<Response, ErrorCode> {
    let gateway = match gateway {
        Ok(gateway) => gateway,
        Err(error) => {
            log::line(Level::Error, "misconfigured", &[("error", &error.to_string())]);
            return visit.refuse(Problem::unavailable());
        }
    };
    let Arrived {
        request,
        path_with_query,
        fields,
        flaw,
    } = arrived;
    // Whatever becomes of it, an allowed page may read it.
    let origin = value(&fields, "origin");
    visit.additions.extend(gateway.origins.answer_fields(origin));
    if let Some(flaw) = flaw {
        return visit.refuse(own::flawed(flaw));
    }
    let method = request.get_method();
    if matches!(method, Method::Options)
        && value(&fields, "access-control-request-method").is_some()
        && let Some(allowed) = origin.and_then(|origin| gateway.origins.preflight_fields(origin))
    {
        visit.additions.extend(allowed);
        return visit.answer(service::Response::empty(http::StatusCode::NO_CONTENT));
    }
    let prefix = prefix_of(visit.path);
    let retiring = gateway.retiring.fields(prefix);
    visit.additions.extend(retiring.iter().cloned());
    // The shop's own reader of the description is of no version.
    let is_readers = visit.path == "/api/openapi.json";
    if !retiring.is_empty() && !is_readers && gateway.retiring.is_gone(prefix, chrono::Utc::now()) {
        return visit.refuse(own::gone());
    }
    match find(visit.path) {
        Some(Route::Service { service, prefix }) => {
            let forwarded = Forwarded {
                service,
                prefix,
                path_with_query,
                fields,
            };
            forward(gateway, visit, forwarded, request).await
        }
        Some(_) if !matches!(method, Method::Get | Method::Head) => {
            visit.refuse(Problem::method_not_allowed("GET, HEAD"))
        }
        Some(Route::Live) => visit.answer(health::live("gateway")),
        Some(Route::Health) => {
            // One question to the gateway is one to every service.
            if let Err(too_soon) = visit.count(gateway).await {
                return visit.refuse(own::refused(&Refusal::TooSoon(too_soon)));
            }
            let asking = Asking::new(&gateway.chain, &visit.envelope);
            let (overview, (redis, breakers)) =
                futures::future::join(ask_all(&asking), gateway.shared.breakers()).await;
            let known = || Service::ALL.map(|service| gateway.breakers.known(service));
            let breakers = breakers.unwrap_or_else(known);
            let breakers = Service::ALL.into_iter().zip(breakers);
            visit.tell_host_of(breakers.clone());
            visit.answer(own::overview(&overview, redis, breakers))
        }
        Some(Route::Page(page)) => {
            if let Err(too_soon) = visit.count(gateway).await {
                return visit.refuse(own::refused(&Refusal::TooSoon(too_soon)));
            }
            visit.answer(pages::answer(page, &fields))
        }
        None => visit.refuse(Problem::no_route()),
    }
}

impl Visit<'_> {
    /// Counts a request that the gateway answers by itself.
    async fn count(&mut self, gateway: &Gateway) -> Result<(), TooSoon> {
        let draws = gateway.limits.draws(None, self.envelope.client, || None);
        let tally = count(&gateway.shared, &draws).await;
        self.additions.extend(tally.fields());
        tally.pass()
    }
}

/// A request that a service is to answer.
struct Forwarded<'a> {
    service: Service,
    prefix: &'static str,
    /// The client's.
    path_with_query: &'a str,
    fields: Vec<Field>,
}

/// Passes a request on, if it is let through.
async fn forward(
    gateway: &Gateway,
    mut visit: Visit<'_>,
    mut forwarded: Forwarded<'_>,
    request: Request,
) -> Result<Response, ErrorCode> {
    let (service, prefix) = (forwarded.service, forwarded.prefix);
    let draws = draws(gateway, &visit, &forwarded, &request.get_method());
    let patience = gateway.chain.patience(service);
    let way = Way { service, patience };
    let (tally, pass) = admit(&gateway.shared, &gateway.breakers, &draws, &way).await;
    visit.additions.extend(tally.fields());
    let pass = match pass {
        Ok(pass) => pass,
        Err(refusal) => {
            visit.tell_host_of(gateway.breakers.news(service).map(|breaker| (service, breaker)));
            return visit.refuse(own::refused(&refusal));
        }
    };
    visit.envelope.seal(&mut forwarded.fields, prefix);
    let passage = pass::Passage {
        visit,
        service,
        path_with_query: forwarded.path_with_query.get(prefix.len()..).unwrap_or_default(),
    };
    passage.through(gateway, pass, request, &forwarded.fields).await
}

/// What the request draws from the limits. A token that does not hold counts for its address alone; that it does not
/// hold is its service's to say.
fn draws(gateway: &Gateway, visit: &Visit<'_>, forwarded: &Forwarded<'_>, method: &Method) -> Vec<Draw> {
    let path = visit.path.get(forwarded.prefix.len()..).unwrap_or_default();
    let is_post = matches!(method, Method::Post);
    let errand = is_post.then(|| Errand::of_post(path)).flatten();
    let user = || {
        let authorization = value(&forwarded.fields, "authorization")?;
        gateway.bearer.user(std::str::from_utf8(authorization).ok()?)
    };
    gateway.limits.draws(errand, visit.envelope.client, user)
}
