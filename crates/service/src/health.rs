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
    /// Asks Postgres whether there is anything in the service's schema: one that was not migrated yet is as good as away.
    pub async fn check(&self) -> Check {
        let prepared = include_str!("sql/prepared.sql");
        match self.session().query(prepared, Vec::new()).await {
            Ok(rows) if !rows.is_empty() => Check::Ok,
            _ => Check::Down,
        }
    }
}
