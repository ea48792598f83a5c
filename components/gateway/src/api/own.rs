//! What the gateway says itself.

use crate::application::Overview;
use crate::domain::Envelope;
use http::StatusCode;
use serde::Serialize;
use service::health::Check;
use service::request::REQUEST_ID_HEADER;
use service::{Problem, Response};
use spin_sdk::http::{FullBody, IntoResponse as _};
use spin_sdk::wasip3::http::types;
use std::collections::BTreeMap;

/// `answer`, named as its request is.
pub(super) fn answer(answer: Response, envelope: &Envelope) -> Result<types::Response, types::ErrorCode> {
    answer
        .with_header(REQUEST_ID_HEADER, &envelope.request_id)
        .into_http()
        .map(FullBody::new)
        .into_response()
}

/// The problem that the client's request at `path` has.
pub(super) fn problem(
    problem: Problem,
    path: &str,
    envelope: &Envelope,
) -> Result<types::Response, types::ErrorCode> {
    answer(problem.into_response(path), envelope)
}

/// `GET /health`.
pub(super) fn overview(overview: &Overview) -> Response {
    #[derive(Serialize)]
    struct Body {
        status: &'static str,
        service: &'static str,
        checks: BTreeMap<&'static str, Check>,
    }
    let body = Body {
        status: overview.status(),
        service: "gateway",
        checks: overview
            .checks()
            .map(|(service, check)| (service.name(), check))
            .collect(),
    };
    let status = if body.status == "unhealthy" {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    Response::json(status, &body)
}
