//! One operation: what a route takes and what it may answer. What follows from that is added here, so that nobody
//! forgets it: who sends a body may be told 413, who needs a token 401, and so on.

use crate::problems::{self, Problem};
use crate::values::{EXAMPLE_ID, complete};
use http::Method;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Anybody,
    /// Whoever has a token.
    SignedIn,
    /// Whoever has a token with one of these roles.
    Only(&'static [&'static str]),
}

/// Whether a request must have its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Always,
    OrNothing,
}

/// What a route takes and answers.
#[derive(Debug)]
pub struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    id: &'static str,
    summary: &'static str,
    text: String,
    access: Access,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    problems: Vec<&'static Problem>,
    /// The schemas that it names, by their names.
    pub(crate) schemas: BTreeMap<String, Value>,
}

pub fn get(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::GET, path, id, summary)
}

pub fn post(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::POST, path, id, summary)
}

pub fn patch(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::PATCH, path, id, summary)
}

pub fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::DELETE, path, id, summary)
}

/// A part of a path that is an id. One that is no UUID names nothing: 404.
#[must_use]
pub fn by_id(name: &str, text: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": text,
        "schema": {"type": "string", "format": "uuid"}, "example": EXAMPLE_ID,
    })
}

/// A query parameter that may be left out.
#[must_use]
pub fn query(name: &str, text: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "required": false, "description": text, "schema": schema})
}

impl Operation {
    fn new(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            text: String::new(),
            access: Access::Anybody,
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            problems: vec![
                // Any request may have a head that cannot be read.
                problems::MALFORMED,
                problems::INTERNAL,
                problems::UNAVAILABLE,
                problems::OVERLOADED,
                problems::TIMEOUT,
            ],
            schemas: BTreeMap::new(),
        }
    }

    /// What a reader should know beyond the summary.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// For whom it is.
    #[must_use]
    pub fn only_for(mut self, access: Access) -> Self {
        self.access = access;
        match access {
            Access::Anybody => self,
            Access::SignedIn => self.refuses(&[problems::UNAUTHORIZED]),
            Access::Only(_) => self.refuses(&[problems::UNAUTHORIZED, problems::FORBIDDEN]),
        }
    }

    /// A parameter as [`by_id`] and [`query`] give it.
    #[must_use]
    pub fn with(mut self, parameter: Value) -> Self {
        let implied: &[&'static Problem] = match parameter["in"].as_str() {
            Some("path") => &[problems::NOT_FOUND],
            Some("query") => &[problems::MALFORMED, problems::VALIDATION],
            _ => &[],
        };
        self.problems.extend(implied);
        self.parameters.push(parameter);
        self
    }

    /// `skip` and `limit`.
    #[must_use]
    pub fn paged(self) -> Self {
        let skip = json!({"type": "integer", "minimum": 0, "maximum": 1_000_000, "default": 0});
        let limit = json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 20});
        self.with(query("skip", "How many to leave out.", skip))
            .with(query("limit", "How many to show.", limit))
    }

    /// A header of the request that may be left out.
    #[must_use]
    pub fn header(self, name: &str, text: &str, schema: Value) -> Self {
        self.with(json!({
            "name": name, "in": "header", "required": false, "description": text, "schema": schema,
        }))
    }

    /// `Idempotency-Key`.
    #[must_use]
    pub fn keyed(self) -> Self {
        let text = "Names this request, so that it can be sent again and is done once. Kept for 24 hours.";
        let schema = json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"});
        self.header("Idempotency-Key", text, schema).refuses(&[
            problems::MALFORMED,
            problems::IDEMPOTENCY_KEY_REUSED,
            problems::REQUEST_IN_FLIGHT,
        ])
    }

    /// `If-Match`.
    #[must_use]
    pub fn guarded(self) -> Self {
        let text = "The entity tag of the version that you have seen: another one is not touched (412).";
        self.header("If-Match", text, entity_tags())
            .refuses(&[problems::STALE])
    }

    /// `If-None-Match`, `ETag` and 304. To be called after the 200 was described.
    #[must_use]
    pub fn cached(mut self) -> Self {
        let etag = etag();
        if let Some(headers) = self
            .answers
            .get_mut(&200)
            .and_then(|answer| answer.get_mut("headers"))
        {
            headers["ETag"] = etag.clone();
        }
        let mut headers = common_headers();
        headers.insert("ETag".to_owned(), etag);
        let unchanged = json!({"description": "You have it already.", "headers": headers});
        self.answers.insert(304, unchanged);
        let text = "The entity tag of the representation that you have.";
        self.header("If-None-Match", text, entity_tags())
    }

    /// The shape of its body, with an example that holds.
    #[must_use]
    pub fn takes<T: ToSchema>(mut self, taken: Taken, example: Value) -> Self {
        collect::<T>(&mut self.schemas, false);
        self.body = Some(json!({
            "required": taken == Taken::Always,
            "content": {"application/json": {"schema": reference(&T::name()), "example": example}},
        }));
        self.refuses(&[
            problems::BODY_TOO_LARGE,
            problems::UNSUPPORTED_MEDIA_TYPE,
            problems::MALFORMED,
            problems::VALIDATION,
            problems::BODY_TIMEOUT,
        ])
    }

    /// That its body has not both of these fields.
    #[must_use]
    pub fn takes_not_both<T: ToSchema>(mut self, fields: [&str; 2]) -> Self {
        if let Some(schema) = self.schemas.get_mut(&*T::name()) {
            schema["not"] = json!({"required": fields});
        }
        self
    }

    /// An answer of this status with a body of `example`'s shape.
    #[must_use]
    pub fn answers<T: ToSchema + Serialize>(mut self, status: u16, text: &str, example: &T) -> Self {
        collect::<T>(&mut self.schemas, true);
        let example = serde_json::to_value(example).unwrap_or_default();
        self.answers_json(status, text, reference(&T::name()), example)
    }

    /// A page of what `example` is one of.
    #[must_use]
    pub fn answers_page<T: ToSchema + Serialize>(mut self, text: &str, example: &T) -> Self {
        collect::<T>(&mut self.schemas, true);
        let name = format!("{}Page", T::name());
        let page = json!({
            "type": "object",
            "description": "A part of a list.",
            "required": ["items", "total", "skip", "limit"],
            "properties": {
                "items": {"type": "array", "items": reference(&T::name()), "maxItems": 100},
                "total": {"type": "integer", "minimum": 0, "description": "How many there are in all."},
                "skip": {"type": "integer", "minimum": 0, "maximum": 1_000_000},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            },
        });
        self.schemas.insert(name.clone(), page);
        let item = serde_json::to_value(example).unwrap_or_default();
        let example = json!({"items": [item], "total": 1, "skip": 0, "limit": 20});
        self.answers_json(200, text, reference(&name), example)
    }

    /// An answer with a JSON body of this schema.
    #[must_use]
    pub fn answers_json(mut self, status: u16, text: &str, schema: Value, example: Value) -> Self {
        let mut media = json!({"schema": schema});
        if !example.is_null() {
            media["example"] = example;
        }
        let answer = json!({
            "description": text, "headers": common_headers(), "content": {"application/json": media},
        });
        self.answers.insert(status, answer);
        self
    }

    /// An answer whose body is a text of this media type.
    #[must_use]
    pub(crate) fn answers_file(mut self, status: u16, text: &str, content_type: &str) -> Self {
        let answer = json!({
            "description": text, "headers": common_headers(),
            "content": {content_type: {"schema": {"type": "string"}}},
        });
        self.answers.insert(status, answer);
        self
    }

    /// An answer without a body.
    #[must_use]
    pub fn answers_nothing(mut self, status: u16, text: &str) -> Self {
        let answer = json!({"description": text, "headers": common_headers()});
        self.answers.insert(status, answer);
        self
    }

    /// A header that the answer of this status, described before, always has.
    #[must_use]
    pub fn answer_header(mut self, status: u16, name: &str, header: Value) -> Self {
        let answer = self.answers.get_mut(&status);
        if let Some(headers) = answer.and_then(|answer| answer.get_mut("headers")) {
            headers[name] = header;
        }
        self
    }

    /// `Location`, of the 201 that was described before.
    #[must_use]
    pub fn located(self) -> Self {
        let header = json!({
            "description": "Where it is, with the prefix that the request used.", "required": true,
            "schema": {"type": "string", "pattern": "^/"},
        });
        self.answer_header(201, "Location", header)
    }

    /// `ETag`, of the answer that was described before.
    #[must_use]
    pub fn tagged(self, status: u16) -> Self {
        self.answer_header(status, "ETag", etag())
    }

    /// `idempotency-replayed`, of the answer that was described before.
    #[must_use]
    pub fn replayable(self, status: u16) -> Self {
        let header = json!({
            "description": "That this answer was given before.", "required": false,
            "schema": {"type": "string", "enum": ["true"]},
        });
        self.answer_header(status, "Idempotency-Replayed", header)
    }

    /// Problems that only this operation has.
    #[must_use]
    pub fn refuses(mut self, problems: &[&'static Problem]) -> Self {
        self.problems.extend(problems);
        self
    }

    /// The operation object; what its refusals look like goes to `responses`, by name.
    pub(crate) fn object(&self, tag: &str, responses: &mut Map<String, Value>) -> Value {
        let mut answers = Map::new();
        for (status, answer) in &self.answers {
            answers.insert(status.to_string(), answer.clone());
        }
        for (status, name, response) in problems::responses(&self.problems) {
            match answers.get_mut(&status.to_string()) {
                // An answer of this status that is no problem: both may come.
                Some(answer) => {
                    let media = &response["content"]["application/problem+json"];
                    answer["content"]["application/problem+json"] = media.clone();
                }
                None => {
                    let place = json!({"$ref": format!("#/components/responses/{name}")});
                    answers.insert(status.to_string(), place);
                    responses.insert(name, response);
                }
            }
        }
        let mut object = json!({
            "operationId": self.id, "summary": self.summary, "tags": [tag], "responses": answers,
        });
        let text = self.described();
        if !text.is_empty() {
            object["description"] = text.into();
        }
        if !self.parameters.is_empty() {
            object["parameters"] = self.parameters.clone().into();
        }
        if let Some(body) = &self.body {
            object["requestBody"] = body.clone();
        }
        object["security"] = match self.access {
            Access::Anybody => json!([]),
            Access::SignedIn | Access::Only(_) => json!([{"bearer": []}]),
        };
        object
    }

    fn described(&self) -> String {
        let roles = match self.access {
            Access::Only(roles) => format!("For the roles {} alone.", list(roles)),
            Access::Anybody | Access::SignedIn => String::new(),
        };
        let parts = [self.text.as_str(), roles.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n\n")
    }
}

fn list(roles: &[&str]) -> String {
    let roles: Vec<String> = roles.iter().map(|role| format!("`{role}`")).collect();
    roles.join(" and ")
}

/// Whatever is sent: what is no tag of ours names no version.
fn entity_tags() -> Value {
    json!({"type": "string", "pattern": r"^[\t -~]*$", "example": "\"3\""})
}

fn etag() -> Value {
    json!({
        "description": "Names this version, for `If-Match` and `If-None-Match`.", "required": true,
        "schema": {"type": "string", "pattern": "^\"[A-Za-z0-9_-]+\"$"}, "example": "\"3\"",
    })
}

/// What every answer has.
pub(crate) fn common_headers() -> Map<String, Value> {
    Map::from_iter([(
        "X-Request-Id".to_owned(),
        json!({"$ref": "#/components/headers/RequestId"}),
    )])
}

/// A reference to a schema.
pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Adds `T`'s schema and all that it refers to. Of an answer every member is always there.
pub(crate) fn collect<T: ToSchema>(schemas: &mut BTreeMap<String, Value>, is_answer: bool) {
    let mut found = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut found);
    for (name, schema) in found {
        let mut schema = serde_json::to_value(schema).unwrap_or_default();
        assert!(schema.is_object(), "{name} has no schema");
        if is_answer {
            complete(&mut schema);
        }
        schemas.insert(name, schema);
    }
}
