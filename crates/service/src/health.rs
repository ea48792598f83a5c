//! `GET /health`: whether a service can do its work, and what it lacks.

use crate::response::Response;
use http::StatusCode;
use serde::Serialize;
use std::collections::BTreeMap;

/// How one thing that a service needs is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    Ok,
    /// Missed, but not needed to work.
    Degraded,
    /// Missed, and nothing works without.
    Down,
}

/// What a service says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    status: &'static str,
    service: &'static str,
    checks: BTreeMap<&'static str, Check>,
}

impl Health {
    /// Sums up `checks`: `unhealthy` if one of them is down.
    #[must_use]
    pub fn new(service: &'static str, checks: impl IntoIterator<Item = (&'static str, Check)>) -> Self {
        let checks: BTreeMap<_, _> = checks.into_iter().collect();
        let down = checks.values().any(|check| *check == Check::Down);
        Self {
            status: if down { "unhealthy" } else { "healthy" },
            service,
            checks,
        }
    }

    /// 200, or 503 if it is unhealthy.
    #[must_use]
    pub fn into_response(self) -> Response {
        let status = if self.status == "healthy" {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        Response::json(status, &self)
    }
}

/// `GET /health/live`: the process lives.
#[must_use]
pub fn live(service: &'static str) -> Response {
    Health::new(service, []).into_response()
}

impl crate::database::Database {
    /// Asks Postgres for nothing.
    pub async fn check(&self) -> Check {
        match self.session().query("select 1 as one", Vec::new()).await {
            Ok(_) => Check::Ok,
            Err(_) => Check::Down,
        }
    }
}
