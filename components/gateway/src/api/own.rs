//! What the gateway says itself.

use super::Visit;
use crate::application::{Overview, Refusal};
use crate::domain::{Breaker, CIRCUIT, Field, Flaw, ROUTE, Service, value};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use service::health::Check;
use service::request::REQUEST_ID_HEADER;
use service::{Problem, Response};
use spin_sdk::http::{FullBody, IntoResponse as _};
use spin_sdk::wasip3::http::types;
use std::collections::BTreeMap;

impl Visit<'_> {
    /// `answer`, named as its request is, with all that every answer says.
    pub(super) fn answer(&self, answer: Response) -> Result<types::Response, types::ErrorCode> {
        let mut answer = answer.with_header(REQUEST_ID_HEADER, &self.envelope.request_id);
        let mut fields = fields_of(answer.headers());
        if self.additions.complete(&mut fields) | self.name_route(&mut fields) {
            *answer.headers_mut() = headers_of(fields);
        }
        answer.into_http().map(FullBody::new).into_response()
    }

    /// Has the host told which route answers, if the answer does not say; `false` if it does, or nobody asks.
    pub(super) fn name_route(&self, fields: &mut Vec<Field>) -> bool {
        let Some(route) = self.route else { return false };
        let is_missing = value(fields, ROUTE).is_none();
        if is_missing {
            fields.push((ROUTE.to_owned(), route.as_bytes().to_vec()));
        }
        is_missing
    }

    /// Has the host told how these breakers stand, if it listens.
    pub(super) fn tell_host_of(&mut self, breakers: impl IntoIterator<Item = (Service, Breaker)>) {
        if self.route.is_none() {
            return;
        }
        let said = |(service, breaker): (Service, Breaker)| {
            let state = format!("{}={}", service.name(), breaker.name());
            (CIRCUIT.to_owned(), state.into_bytes())
        };
        self.additions.extend(breakers.into_iter().map(said));
    }

    /// The problem that the client's request has.
    pub(super) fn refuse(&self, problem: Problem) -> Result<types::Response, types::ErrorCode> {
        self.answer(problem.into_response(self.path))
    }
}

fn fields_of(headers: &HeaderMap) -> Vec<Field> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
    headers.iter().map(field).collect()
}

fn headers_of(fields: Vec<Field>) -> HeaderMap {
    let header = |(name, value): Field| {
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.into_iter().filter_map(header) {
        headers.append(name, value);
    }
    headers
}

/// 400 or 431.
pub(super) fn flawed(flaw: Flaw) -> Problem {
    match flaw {
        Flaw::TooLarge => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            "Head too large",
            "The header fields have more than 32 KiB.",
        ),
        Flaw::Doubled(name) => Problem::malformed(format!("The header field {name} is there twice.")),
    }
}

/// 429 or 503, each with when to come back.
pub(super) fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::TooSoon(too_soon) => {
            let detail = "Too many requests came from here; see `Retry-After`.";
            Problem::too_many_requests(too_soon.retry_after_seconds, detail)
                .with_member("violated-policies", json!(too_soon.policies))
        }
        Refusal::Broken(wait) => {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Problem::unavailable().with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
        }
    }
}

/// 410: the operator has retired the version that the client asked for.
pub(super) fn gone() -> Problem {
    let detail = "This version of the API has been retired.";
    Problem::new(StatusCode::GONE, "version-retired", "Version retired", detail)
}

/// `GET /health`. Redis is missed, but not needed.
pub(super) fn overview(
    overview: &Overview,
    redis: Check,
    breakers: impl Iterator<Item = (Service, Breaker)>,
) -> Response {
    #[derive(Serialize)]
    struct Body {
        status: &'static str,
        service: &'static str,
        checks: BTreeMap<&'static str, Check>,
        breakers: BTreeMap<&'static str, &'static str>,
    }
    let services = overview.checks().map(|(service, check)| (service.name(), check));
    let body = Body {
        status: overview.status(),
        service: "gateway",
        checks: services.chain([("redis", redis)]).collect(),
        breakers: breakers
            .map(|(service, breaker)| (service.name(), breaker.name()))
            .collect(),
    };
    let status = if body.status == "unhealthy" {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    Response::json(status, &body)
}
