//! Every kind of problem that the shop answers with (RFC 9457): the closed list that `docs/api.md` shows to people.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: u16,
    /// `type` is `/problems/<slug>`.
    pub slug: &'static str,
    title: &'static str,
    /// When it is the answer.
    when: &'static str,
    /// Header fields that such an answer always has.
    headers: &'static [Header],
    /// A member of its own: its name and the schema of its value.
    member: Option<(&'static str, &'static str)>,
}

/// A header field of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    RetryAfter,
    Challenge,
}

impl Header {
    fn name(self) -> &'static str {
        match self {
            Self::RetryAfter => "Retry-After",
            Self::Challenge => "WWW-Authenticate",
        }
    }
}

macro_rules! problems {
    ($($name:ident = $status:literal $slug:literal, $title:literal, $when:literal
        $(, headers: [$($header:ident),+])? $(, member: $member:literal as $schema:literal)?;)+) => {
        $(pub const $name: &Problem = &Problem {
            status: $status,
            slug: $slug,
            title: $title,
            when: $when,
            headers: &[$($(Header::$header),+)?],
            member: problems!(@member $($member as $schema)?),
        };)+

        /// Every one, in the order in which they are checked.
        pub const ALL: &[&Problem] = &[$($name),+];
    };
    (@member $member:literal as $schema:literal) => { Some(($member, $schema)) };
    (@member) => { None };
}

problems! {
    HEAD_TOO_LARGE = 431 "head-too-large", "Head too large", "the headers have more than 32 KiB";
    VERSION_RETIRED = 410 "version-retired", "Version retired", "this version of the API is answered no more";
    TOO_MANY_REQUESTS = 429 "too-many-requests", "Too many requests",
        "`Retry-After` says when to come back, `violated-policies` by which limits", headers: [RetryAfter],
        member: "violated-policies" as "Policies";
    UNAUTHORIZED = 401 "unauthorized", "Not signed in",
        "no token, or one that does not hold; a wrong e-mail or password", headers: [Challenge];
    FORBIDDEN = 403 "forbidden", "Not allowed", "the role may not do this";
    BODY_TOO_LARGE = 413 "body-too-large", "Body too large", "the body has more than 64 KiB";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type", "Unsupported media type",
        "the body is no `application/json` in UTF-8";
    MALFORMED = 400 "malformed", "Malformed request", "the body, the query or the `Idempotency-Key` cannot be read";
    VALIDATION = 422 "validation", "Invalid request", "a field does not hold; `errors` names each";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency-key-reused", "Idempotency key reused",
        "the `Idempotency-Key` was sent with another body";
    REQUEST_IN_FLIGHT = 409 "request-in-flight", "Conflict",
        "the request with this `Idempotency-Key` is being worked on; `Retry-After` says when to try again",
        headers: [RetryAfter];
    NOT_FOUND = 404 "not-found", "Not found", "no such object, or someone else's";
    STALE = 412 "stale", "Precondition failed", "it has changed since the version that `If-Match` names";
    PRECONDITION_REQUIRED = 428 "precondition-required", "Precondition required",
        "setting the stock needs `If-Match`";
    OTHER_TOTAL = 409 "other-total", "Conflict",
        "the order costs something else than `expected_total`; `total_amount` says what",
        member: "total_amount" as "Money";
    TOO_MANY_FAILED_LOGINS = 429 "too-many-failed-logins", "Too many failed logins",
        "too many logins failed, of this account or from this address; `Retry-After` says when to try again",
        headers: [RetryAfter];
    LAST_ADMIN = 409 "last-admin", "Conflict", "there is no other active admin";
    EMAIL_TAKEN = 409 "email-taken", "Conflict", "somebody is registered with this address";
    STOCK_OUT_OF_RANGE = 409 "stock-out-of-range", "Conflict", "the stock would leave its bounds";
    FLOWER_IN_BOUQUET = 409 "flower-in-bouquet", "Conflict", "a bouquet holds the flower";
    CATEGORY_NAME_TAKEN = 409 "category-name-taken", "Conflict", "another category has this name";
    CATEGORY_HAS_BOUQUETS = 409 "category-has-bouquets", "Conflict", "the category has bouquets";
    ORDER_HANDED_OVER = 409 "order-handed-over", "Conflict",
        "the order is paid and its stock reserved: it cannot be cancelled any more";
    ORDER_CANCELLED = 409 "order-cancelled", "Conflict", "the order was cancelled: nobody pays for it";
    PAYMENT_DEADLINE = 409 "payment-deadline", "Conflict",
        "the order's payment deadline has passed: no charge starts any more";
    ALREADY_SHIPPED = 409 "already-shipped", "Conflict",
        "the order has a shipment already; `shipment_id` says which", member: "shipment_id" as "ShipmentId";
    SHIPMENT_ENDED = 409 "shipment-ended", "Conflict", "the shipment has ended otherwise";
    COMPONENT_FAILED = 502 "component-failed", "Service failed",
        "a service failed while it worked on the request";
    UNAVAILABLE = 503 "unavailable", "Unavailable",
        "something that the request needs does not answer; `Retry-After` says when to try again",
        headers: [RetryAfter];
    OVERLOADED = 503 "overloaded", "Overloaded",
        "more requests than the service can take; `Retry-After` says when to try again", headers: [RetryAfter];
    TIMEOUT = 503 "timeout", "Timeout",
        "the service did not answer in time; what was asked of it may have happened", headers: [RetryAfter];
    BODY_TIMEOUT = 408 "body-timeout", "Request timeout", "the body did not arrive in time";
    INTERNAL = 500 "internal", "Internal error", "a mistake of the shop's";
}

impl Problem {
    fn kind(&self) -> String {
        format!("/problems/{}", self.slug)
    }

    /// What such an answer looks like.
    fn example(&self) -> Value {
        let detail = format!("{}.", self.when.replace('`', ""));
        let mut example = json!({
            "type": self.kind(), "title": self.title, "status": self.status, "detail": detail,
            "instance": "/api/…",
        });
        if let Value::Object(members) = &mut example {
            if self.slug == VALIDATION.slug {
                let errors = json!([{"field": "items[0].quantity", "message": "must be a whole number from 1 to 1000"}]);
                members.insert("errors".to_owned(), errors);
            }
            match self.member {
                Some((name, "Money")) => {
                    members.insert(name.to_owned(), json!({"amount": "450.00", "currency": "RUB"}));
                }
                Some((name, "Policies")) => {
                    members.insert(name.to_owned(), json!(["requests"]));
                }
                Some((name, _)) => {
                    members.insert(name.to_owned(), json!(crate::values::EXAMPLE_ID));
                }
                None => {}
            }
        }
        example
    }
}

/// The answers for these problems, one for each status: their status, name and response object.
pub(crate) fn responses(problems: &[&'static Problem]) -> Vec<(u16, String, Value)> {
    let mut by_status: BTreeMap<u16, Vec<&'static Problem>> = BTreeMap::new();
    for problem in problems {
        let of_status = by_status.entry(problem.status).or_default();
        if !of_status.contains(problem) {
            of_status.push(problem);
        }
    }
    let answer = |(status, mut problems): (u16, Vec<&'static Problem>)| {
        problems.sort_by_key(|problem| ALL.iter().position(|known| known == problem));
        (status, name(&problems), response(status, &problems))
    };
    by_status.into_iter().map(answer).collect()
}

/// `NotFound`, `UnavailableOrTimeout`.
fn name(problems: &[&Problem]) -> String {
    let camel = |slug: &str| -> String {
        let word = |word: &str| {
            let (first, rest) = word.split_at(1);
            format!("{}{rest}", first.to_uppercase())
        };
        slug.split('-').map(word).collect()
    };
    let names: Vec<String> = problems.iter().map(|problem| camel(problem.slug)).collect();
    names.join("Or")
}

fn response(status: u16, problems: &[&Problem]) -> Value {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("`{}`: {}.", problem.kind(), problem.when))
        .collect();
    let kinds: Vec<String> = problems.iter().map(|problem| problem.kind()).collect();
    let mut members = Map::from_iter([
        ("type".to_owned(), json!({"enum": kinds})),
        ("status".to_owned(), json!({"const": status})),
    ]);
    for (name, schema) in problems.iter().filter_map(|problem| problem.member) {
        members.insert(name.to_owned(), crate::operation::reference(schema));
    }
    let examples = problems
        .iter()
        .map(|problem| (problem.slug.to_owned(), json!({"value": problem.example()})));
    let examples: Map<String, Value> = examples.collect();
    let mut headers = crate::operation::common_headers();
    for problem in problems {
        for header in problem.headers {
            let always = problems.iter().all(|problem| problem.headers.contains(header));
            headers.insert(header.name().to_owned(), header_object(*header, always));
        }
    }
    json!({
        "description": lines.join("\n\n"),
        "headers": headers,
        "content": {"application/problem+json": {
            "schema": {
                "allOf": [crate::operation::reference("Problem"), {"type": "object", "properties": members}],
            },
            "examples": examples,
        }},
    })
}

fn header_object(header: Header, always: bool) -> Value {
    match header {
        Header::RetryAfter => json!({
            "description": "After how many seconds to try again.",
            "required": always,
            "schema": {"type": "integer", "minimum": 0},
        }),
        Header::Challenge => json!({
            "description": "How to sign in (RFC 6750).",
            "required": always,
            "schema": {"type": "string"},
            "example": "Bearer realm=\"flower-shop\"",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn read(path: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
    }

    /// Those of which no operation speaks: nothing is served there, or it was no request that could be looked at.
    const OF_NO_OPERATION: [(&str, u16); 8] = [
        ("no-route", 404),
        ("method-not-allowed", 405),
        ("head-timeout", 408),
        ("target-too-long", 414),
        ("expectation-failed", 417),
        ("not-implemented", 501),
        ("http-version", 505),
        ("too-many-connections", 503),
    ];

    #[test]
    fn the_page_for_people_lists_the_same_problems() {
        let page = read("docs/api.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `/problems/"));
        let row = |row: &str| {
            let mut cells = row.split(" | ");
            let slug = cells.next()?.trim_end_matches('`').to_owned();
            Some((slug, cells.next()?.parse::<u16>().ok()?))
        };
        let on_the_page: BTreeSet<_> = rows.map(|line| row(line).unwrap()).collect();
        let here = ALL.iter().map(|problem| (problem.slug, problem.status));
        let here = here
            .chain(OF_NO_OPERATION)
            .map(|(slug, status)| (slug.to_owned(), status));
        assert_eq!(here.collect::<BTreeSet<_>>(), on_the_page);
    }

    #[test]
    fn problems_of_one_status_are_one_answer() {
        let responses = responses(&[OTHER_TOTAL, NOT_FOUND, REQUEST_IN_FLIGHT, NOT_FOUND]);
        let names: Vec<_> = responses
            .iter()
            .map(|(status, name, _)| (*status, name.as_str()))
            .collect();
        assert_eq!(names, [(404, "NotFound"), (409, "RequestInFlightOrOtherTotal")]);
        let conflict = &responses[1].2;
        assert_eq!(conflict["headers"]["Retry-After"]["required"], false);
        let schema = &conflict["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"];
        assert_eq!(schema["type"]["enum"][1], "/problems/other-total");
        assert_eq!(schema["total_amount"]["$ref"], "#/components/schemas/Money");
    }
}
