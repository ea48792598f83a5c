//! `POST /internal/<service>/events`: where the bridge hands over a signed batch (R6). Checks the signature, reads
//! the events, has them handled, and says of each what became of it.

use crate::config::{ConfigError, variable};
use crate::log::{self, Level};
use crate::problem::Problem;
use crate::request::Request;
use crate::response::Response;
use crate::store::StoreError;
use contracts::{DecodeError, Event, EventId, Received, Timestamp};
use event_batch::{
    BATCH_CONTENT_TYPE, BatchAnswer, CloudEvent, EventResult, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Outcome,
    SignatureHeaders, SigningKey,
};
use http::{StatusCode, header};
use serde_json::Value;

/// How long an event of a newer schema version waits for a newer consumer before it is a dead letter, in seconds.
const NEWER_VERSION_PATIENCE_SECONDS: i64 = 600;

/// The signing key of this service, from the variable `events_key`.
///
/// # Errors
/// If it is not set or is no key.
pub async fn signing_key() -> Result<SigningKey, ConfigError> {
    let text = variable("events_key").await?;
    SigningKey::parse(&text).map_err(|_| ConfigError {
        name: "events_key",
        reason: "is no signing key",
    })
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    pub id: EventId,
    pub outcome: Outcome,
    pub reason: Option<String>,
}

impl Handled {
    #[must_use]
    pub fn processed(id: EventId) -> Self {
        Self {
            id,
            outcome: Outcome::Processed,
            reason: None,
        }
    }

    #[must_use]
    pub fn duplicate(id: EventId) -> Self {
        Self {
            id,
            outcome: Outcome::Duplicate,
            reason: None,
        }
    }

    #[must_use]
    pub fn retry(id: EventId, reason: impl Into<String>) -> Self {
        Self {
            id,
            outcome: Outcome::Retry,
            reason: Some(reason.into()),
        }
    }

    #[must_use]
    pub fn rejected(id: EventId, reason: impl Into<String>) -> Self {
        Self {
            id,
            outcome: Outcome::Rejected,
            reason: Some(reason.into()),
        }
    }
}

/// Takes one batch; `handle` gives an outcome for each event that it is handed.
///
/// # Errors
/// 401 if the signature does not hold, before anything is read of the body; 400, 413, 415 for what is no batch;
/// 503 if the store does not answer.
pub async fn take_batch(
    key: &SigningKey,
    mut request: Request,
    handle: impl AsyncFnOnce(Vec<Received>) -> Result<Vec<Handled>, StoreError>,
) -> Result<Response, Problem> {
    let body = request.bytes(MAX_BATCH_BYTES).await?;
    authenticate(key, &request, &body)?;
    if request
        .header(header::CONTENT_TYPE)
        .is_none_or(|kind| !kind.starts_with(BATCH_CONTENT_TYPE))
    {
        return Err(Problem::unsupported_media_type(BATCH_CONTENT_TYPE));
    }
    let values: Vec<Value> =
        serde_json::from_slice(&body).map_err(|_| Problem::malformed("The batch is no JSON array."))?;
    if values.len() > MAX_BATCH_EVENTS {
        return Err(Problem::malformed(format!(
            "A batch holds at most {MAX_BATCH_EVENTS} events."
        )));
    }
    let mut results = Vec::with_capacity(values.len());
    let mut received: Vec<Received> = Vec::with_capacity(values.len());
    for value in values {
        match read(value) {
            // A batch may hold an event twice: the first of them speaks for both.
            Ok(event) if received.iter().any(|other| other.id == event.id) => {}
            Ok(event) => {
                let traceparent = request.trace.continues(event.traceparent);
                received.push(Received { traceparent, ..event });
            }
            Err(result) => results.push(result),
        }
    }
    if !received.is_empty() {
        results.extend(handle(received).await?.into_iter().map(into_result));
    }
    Ok(Response::json(StatusCode::OK, &BatchAnswer { results }))
}

fn authenticate(key: &SigningKey, request: &Request, body: &[u8]) -> Result<(), Problem> {
    let part = |name: &str| request.header(name).unwrap_or_default();
    let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap_or_default();
    let verified = key.verify(
        part(SignatureHeaders::ID),
        part(SignatureHeaders::TIMESTAMP),
        part(SignatureHeaders::SIGNATURE),
        body,
        now,
    );
    verified.map_err(|error| {
        log::line(Level::Warn, "events refused", &[("reason", &error.to_string())]);
        Problem::unauthorized("Webhook", "The signature does not hold.")
    })
}

fn read(value: Value) -> Result<Received, EventResult> {
    let named = value
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let answer = |outcome, reason: String| EventResult {
        id: named.clone(),
        outcome,
        reason: Some(reason),
    };
    let event =
        CloudEvent::from_value(value).map_err(|error| answer(Outcome::Rejected, error.to_string()))?;
    let id: EventId = event
        .id
        .parse()
        .map_err(|_| answer(Outcome::Rejected, "the id is no UUID".to_owned()))?;
    let occurred_at = event
        .time
        .and_then(|time| serde_json::from_value(Value::String(time)).ok());
    match Event::decode(&event.event_type, event.data) {
        Ok(decoded) => Ok(Received {
            id,
            traceparent: event.traceparent,
            occurred_at,
            event: decoded,
        }),
        Err(error @ DecodeError::NewerVersion { .. }) if is_recent(occurred_at) => {
            log::line(
                Level::Warn,
                "event of a newer version waits",
                &[("event_id", &named)],
            );
            Err(answer(Outcome::Retry, error.to_string()))
        }
        Err(error) => Err(answer(Outcome::Rejected, error.to_string())),
    }
}

fn is_recent(time: Option<Timestamp>) -> bool {
    time.is_some_and(|time| Timestamp::now().seconds_since(time) < NEWER_VERSION_PATIENCE_SECONDS)
}

fn into_result(handled: Handled) -> EventResult {
    EventResult {
        id: handled.id.to_string(),
        outcome: handled.outcome,
        reason: handled.reason,
    }
}
