//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that was answered under a key is answered
//! the same again, and done once.
//!
//! The answer is computed before the statement that does the work and kept by that statement, in the service's table
//! `idempotency_keys`; so a key is never spent on work that was not done. Each such statement takes the key's advisory
//! lock for as long as it runs, which is how a request in flight is told from one that died: the lock dies with it.

use crate::database::{Row, Session, jsonb};
use crate::problem::Problem;
use crate::request::Request;
use crate::response::Response;
use crate::router::Answer;
use crate::store::StoreError;
use contracts::{Timestamp, UserId};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spin_sdk::pg::ParameterValue;

/// Names a request, so that it can be sent again.
pub const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that an answer was given before.
pub const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How often a statement that lost its key's row to another is tried.
const ATTEMPTS: u32 = 3;

/// A keyed request: whose key, for what, and with which body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdempotencyKey {
    user_id: UserId,
    /// Method and path.
    scope: String,
    key: String,
    /// In hex.
    body_sha256: String,
}

impl IdempotencyKey {
    /// The key of `request`, which `user_id` sent with `body`; `None` if it has none.
    ///
    /// # Errors
    /// 400 unless it is one header of 1 to 128 visible ASCII characters.
    pub fn read(request: &Request, user_id: UserId, body: &[u8]) -> Result<Option<Self>, Problem> {
        let key = key_in(&request.headers)?;
        let scope = format!("{} {}", request.method, request.path);
        Ok(key.map(|key| Self::new(user_id, scope, key, body)))
    }

    /// A key that `user_id` sent with `body` in this scope.
    #[must_use]
    pub fn new(user_id: UserId, scope: String, key: String, body: &[u8]) -> Self {
        let digest = Sha256::digest(body);
        Self {
            user_id,
            scope,
            key,
            body_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Whether this is the same key of the same user, whatever was sent with it.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        (self.user_id, &self.scope, &self.key) == (other.user_id, &other.scope, &other.key)
    }
}

fn key_in(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut lines = headers.get_all(KEY_HEADER).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    let key = line.as_bytes();
    let holds = (1..=128).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    match line.to_str() {
        Ok(key) if holds && lines.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(Problem::malformed(
            "Idempotency-Key is one header of 1 to 128 visible ASCII characters.",
        )),
    }
}

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    status: u16,
    content_type: Option<String>,
    location: Option<String>,
    body: String,
}

impl KeptAnswer {
    /// What is to be given again of `response`, whose body is UTF-8.
    #[must_use]
    pub fn of(response: &Response) -> Self {
        let text = |name| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        Self {
            status: response.status().as_u16(),
            content_type: text(header::CONTENT_TYPE),
            location: text(header::LOCATION),
            body: String::from_utf8_lossy(response.body()).into_owned(),
        }
    }

    /// The same answer, marked as one that was given before.
    #[must_use]
    pub fn replayed(self) -> Response {
        // What is kept was an answer, so its status is one.
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::bytes(status, "application/json", self.body.into());
        for (name, value) in [
            (header::CONTENT_TYPE, self.content_type),
            (header::LOCATION, self.location),
        ] {
            if let Some(value) = value {
                response = response.with_header(name, &value);
            }
        }
        response.with_header(REPLAYED_HEADER, "true")
    }
}

/// Whether an answer of this status is kept. The others say nothing of the request's own doing: it may be sent again.
fn is_kept(status: StatusCode) -> bool {
    let not_kept = [
        StatusCode::UNAUTHORIZED,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !not_kept.contains(&status)
}

/// A key with the answer that is to be kept under it: a parameter of the statement that does the work, `null` where no
/// key was sent. As a record: `user_id uuid, scope text, key text, body_sha256 text, answer jsonb`.
///
/// # Errors
/// Never for the types here; serialisation is fallible by its signature.
pub fn parameter(
    key: Option<&IdempotencyKey>,
    answer: Option<&KeptAnswer>,
) -> Result<ParameterValue, StoreError> {
    #[derive(Serialize)]
    struct Written<'a> {
        #[serde(flatten)]
        key: &'a IdempotencyKey,
        answer: Option<&'a KeptAnswer>,
    }
    jsonb(&key.map(|key| Written { key, answer }))
}

/// What a keyed statement came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did its work, and kept the answer.
    Stored,
    /// It did nothing, for the key was used before.
    Known(Known),
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Answered(KeptAnswer),
    /// Work began under it at that time and has no answer yet.
    Begun(Timestamp),
    /// It named another request.
    OtherBody,
    /// A statement under it is running this very moment.
    InFlight,
}

impl Verdict {
    /// Reads the one row that a keyed statement gives: `is_stored bool`, `is_held bool` (whether the key's lock was
    /// free), and of a key that was known `is_same_body bool`, `answer jsonb`, `since timestamp`.
    ///
    /// # Errors
    /// [`StoreError::Contention`] if another request stored under the key since the statement's snapshot: try again.
    pub fn read(row: &Row) -> Result<Self, StoreError> {
        if row.get("is_stored")? {
            return Ok(Self::Stored);
        }
        let answer: Option<serde_json::Value> = row.get("answer")?;
        let known = match row.get::<Option<bool>>("is_same_body")? {
            Some(true) => match answer {
                Some(answer) => Known::Answered(
                    serde_json::from_value(answer).map_err(|error| StoreError::Mistake(error.to_string()))?,
                ),
                None => Known::Begun(row.time("since")?),
            },
            Some(false) => Known::OtherBody,
            None if row.get("is_held")? => return Err(StoreError::Contention),
            None => Known::InFlight,
        };
        Ok(Self::Known(known))
    }
}

impl Known {
    /// What the client is told.
    ///
    /// # Errors
    /// 422 if the key named another request; 409 while that is in flight.
    pub fn into_answer(self) -> Answer {
        match self {
            Self::Answered(answer) => Ok(answer.replayed()),
            Self::OtherBody => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "Idempotency key reused",
                "This Idempotency-Key was sent with another body.",
            )),
            Self::Begun(_) | Self::InFlight => Err(Problem::conflict(
                "request-in-flight",
                "The request with this Idempotency-Key is being worked on.",
            )
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))),
        }
    }
}

/// Where answers are kept.
pub trait KeptAnswers {
    /// Keeps the answer to a request that changed nothing.
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Verdict, StoreError>;
}

/// Keeps an answer in the table `idempotency_keys` of the session's schema.
///
/// # Errors
/// As [`Session::query`].
pub async fn keep(
    session: &Session<'_>,
    key: &IdempotencyKey,
    answer: &KeptAnswer,
) -> Result<Verdict, StoreError> {
    let parameters = vec![parameter(Some(key), Some(answer))?];
    let row = session
        .query_one(include_str!("sql/keep_answer.sql"), parameters)
        .await?;
    let row = row.ok_or_else(|| StoreError::Mistake("a keyed statement without an answer".to_owned()))?;
    Verdict::read(&row)
}

/// What keyed work came to.
pub enum Done {
    /// It was done, and the answer kept by the same statement.
    Kept(Response),
    /// There was nothing to do; the answer is still to be kept.
    Unchanged(Response),
    /// The key was used before.
    Known(Known),
}

/// Answers a request once per key: does `work`, and keeps the answer where the work has not.
///
/// # Errors
/// As `work`; 422 and 409 as [`Known::into_answer`] says; 503 if the answer cannot be kept.
pub async fn once(
    answers: &impl KeptAnswers,
    key: Option<&IdempotencyKey>,
    instance: &str,
    work: impl Future<Output = Result<Done, Problem>>,
) -> Answer {
    let response = match work.await {
        Ok(Done::Kept(response)) => return Ok(response),
        Ok(Done::Known(known)) => return known.into_answer(),
        Ok(Done::Unchanged(response)) => response,
        Err(problem) => problem.into_response(instance),
    };
    let Some(key) = key.filter(|_| is_kept(response.status())) else {
        return Ok(response);
    };
    let answer = KeptAnswer::of(&response);
    for _ in 0..ATTEMPTS {
        match answers.keep(key, &answer).await {
            Ok(Verdict::Stored) => return Ok(response),
            Ok(Verdict::Known(known)) => return known.into_answer(),
            Err(StoreError::Contention) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use proptest::prelude::*;
    use std::cell::RefCell;

    fn key_of(values: &[&[u8]]) -> Result<Option<String>, StatusCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY_HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        key_in(&headers).map_err(|problem| problem.status)
    }

    #[test]
    fn a_key_is_one_header_of_visible_ascii() {
        assert_eq!(key_of(&[]), Ok(None));
        assert_eq!(key_of(&[b"a-1~!"]), Ok(Some("a-1~!".to_owned())));
        assert!(key_of(&[&[b'k'; 128]]).is_ok());
        let bad: [&[&[u8]]; 6] = [
            &[b""],
            &[&[b'k'; 129]],
            &[b"a b"],
            &[b"\t"],
            &["ключ".as_bytes()],
            &[b"a", b"a"],
        ];
        for values in bad {
            assert_eq!(key_of(values), Err(StatusCode::BAD_REQUEST), "{values:?}");
        }
    }

    fn created() -> Response {
        let body = serde_json::json!({"id": 1, "address": "улица"});
        Response::json(StatusCode::CREATED, &body).with_header(header::LOCATION, "/api/orders/1")
    }

    #[test]
    fn an_answer_is_given_again_as_it_was_and_says_so() {
        let first = created();
        let again = KeptAnswer::of(&first).replayed();
        assert_eq!(again.status(), first.status());
        assert_eq!(again.body(), first.body());
        for name in [header::LOCATION, header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            assert_eq!(again.headers().get(&name), first.headers().get(&name), "{name}");
        }
        assert_eq!(again.headers()[REPLAYED_HEADER], "true");
    }

    #[test]
    fn only_answers_that_speak_of_the_request_itself_are_kept() {
        for (status, kept) in [
            (201, true),
            (200, true),
            (400, true),
            (404, true),
            (409, true),
            (422, true),
            (401, false),
            (413, false),
            (415, false),
            (429, false),
            (500, false),
            (503, false),
        ] {
            assert_eq!(is_kept(StatusCode::from_u16(status).unwrap()), kept, "{status}");
        }
    }

    #[derive(Default)]
    struct InMemory(RefCell<Vec<(IdempotencyKey, KeptAnswer)>>);

    impl KeptAnswers for InMemory {
        async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Verdict, StoreError> {
            let mut kept = self.0.borrow_mut();
            let known = kept.iter().find(|(other, _)| other.key == key.key);
            Ok(match known {
                Some((other, _)) if other != key => Verdict::Known(Known::OtherBody),
                Some((_, answer)) => Verdict::Known(Known::Answered(answer.clone())),
                None => {
                    kept.push((key.clone(), answer.clone()));
                    Verdict::Stored
                }
            })
        }
    }

    fn key(body: &str) -> IdempotencyKey {
        IdempotencyKey {
            user_id: UserId::new(),
            scope: "POST /orders".to_owned(),
            key: "k".to_owned(),
            body_sha256: body.to_owned(),
        }
    }

    fn answer(store: &InMemory, key: Option<&IdempotencyKey>, work: Result<Done, Problem>) -> Response {
        let answer = block_on(once(store, key, "/orders", async { work }));
        answer.unwrap_or_else(|problem| problem.into_response("/orders"))
    }

    #[test]
    fn a_refusal_is_kept_and_given_again_whatever_comes_of_the_work_then() {
        let (store, key) = (InMemory::default(), key("a"));
        let refused = answer(&store, Some(&key), Err(Problem::not_found("flower")));
        let again = answer(&store, Some(&key), Ok(Done::Unchanged(created())));
        assert_eq!((again.status(), again.body()), (refused.status(), refused.body()));
        assert_eq!(again.headers()[REPLAYED_HEADER], "true");
    }

    #[test]
    fn another_body_under_the_same_key_is_refused() {
        let store = InMemory::default();
        let mut key = key("a");
        answer(&store, Some(&key), Ok(Done::Unchanged(created())));
        key.body_sha256 = "b".to_owned();
        let refused = answer(&store, Some(&key), Ok(Done::Unchanged(created())));
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn without_a_key_and_after_a_failure_nothing_is_kept() {
        let (store, key) = (InMemory::default(), key("a"));
        answer(&store, None, Ok(Done::Unchanged(created())));
        answer(&store, Some(&key), Err(Problem::unavailable()));
        answer(&store, Some(&key), Ok(Done::Kept(created())));
        assert!(store.0.borrow().is_empty());
    }

    #[test]
    fn a_request_in_flight_is_told_to_come_again() {
        let (store, key) = (InMemory::default(), key("a"));
        for known in [Known::InFlight, Known::Begun(Timestamp::now())] {
            let refused = answer(&store, Some(&key), Ok(Done::Known(known)));
            assert_eq!(refused.status(), StatusCode::CONFLICT);
            assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        }
    }

    proptest! {
        #[test]
        fn no_header_does_harm_and_a_key_is_kept_as_it_is(
            lines in proptest::collection::vec(proptest::collection::vec(0x20_u8.., 0..140), 0..3)
        ) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                if let Ok(value) = HeaderValue::from_bytes(line) {
                    headers.append(KEY_HEADER, value);
                }
            }
            if let Ok(Some(key)) = key_in(&headers) {
                prop_assert!((1..=128).contains(&key.len()));
                prop_assert_eq!(headers.get_all(KEY_HEADER).iter().collect::<Vec<_>>(), [key.as_str()]);
            }
        }
    }
}
