//! The description of the whole shop, as clients see it through the gateway.

use crate::operation::{Operation, get};
use crate::problems::{self, Problem};
use crate::service::{Description, described, healthy};
use serde_json::{Value, json};

/// What the gateway adds to the services' descriptions.
pub struct Gateway {
    pub title: &'static str,
    pub text: &'static str,
    /// Its own operations.
    pub operations: Vec<Operation>,
}

impl Gateway {
    /// `GET /health` of all services.
    #[must_use]
    pub fn health(path: &'static str) -> Operation {
        healthy(
            get(path, "shopHealth", "How every service is doing"),
            "ShopHealth",
        )
        .text("`degraded` (200) while one is down; 503 only when none answers.")
        .refuses(&[problems::TOO_MANY_REQUESTS])
    }

    /// A document that is the same for everybody.
    #[must_use]
    pub fn document(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
        described(get(path, id, summary)).refuses(&[problems::TOO_MANY_REQUESTS])
    }

    /// The same for a file that is no JSON.
    #[must_use]
    pub fn file(
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        content_type: &str,
    ) -> Operation {
        get(path, id, summary)
            .answers_file(200, "It.", content_type)
            .cached()
            .refuses(&[problems::TOO_MANY_REQUESTS])
    }
}

/// Merges the documents of the services, and puts them behind the gateway's prefix: each keeps its paths under its own
/// name (`/auth/…`); what it answers on its own port alone (`/health`) is left out.
///
/// # Panics
/// If two of them give one name to different things.
#[must_use]
pub fn merge(gateway: Gateway, services: &[Value]) -> Value {
    let own = gateway.operations.into_iter().fold(
        Description::new("gateway", gateway.title, gateway.text),
        Description::with,
    );
    let mut merged = own.document();
    merged["info"]["title"] = gateway.title.into();
    let own_tag = json!({"name": "gateway", "description": "What the gateway answers itself."});
    merged["tags"] = json!([]);
    merged["servers"] = json!([{"url": "/", "description": "This shop."}]);
    for service in services {
        for (path, item) in members(&service["paths"]) {
            if !path.starts_with("/health") {
                add(&mut merged["paths"], &format!("/api{path}"), item);
            }
        }
        for kind in ["schemas", "responses", "headers", "securitySchemes"] {
            for (name, part) in members(&service["components"][kind]) {
                add(&mut merged["components"][kind], name, part);
            }
        }
        if let (Some(all), Some(tags)) = (merged["tags"].as_array_mut(), service["tags"].as_array()) {
            all.extend(tags.iter().cloned());
        }
    }
    if let Some(all) = merged["tags"].as_array_mut() {
        all.push(own_tag);
    }
    add_failures(&mut merged);
    add_headers(&mut merged);
    merged
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn members_mut(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

fn add(object: &mut Value, name: &str, part: &Value) {
    let known = object.get(name);
    assert!(known.is_none_or(|known| known == part), "there are two of {name}");
    object[name] = part.clone();
}

/// What the gateway refuses whoever is to answer.
const OF_ALL: [&Problem; 2] = [problems::MALFORMED, problems::HEAD_TOO_LARGE];

/// What it may answer in a service's place, besides.
const OF_SERVICES: [&Problem; 3] = [
    problems::VERSION_RETIRED,
    problems::TOO_MANY_REQUESTS,
    problems::COMPONENT_FAILED,
];

/// Adds what the gateway refuses.
fn add_failures(merged: &mut Value) {
    let of_all = problems::responses(&OF_ALL);
    let of_services = problems::responses(&OF_SERVICES);
    for (path, item) in members_mut(&mut merged["paths"]) {
        let of_services = of_services.iter().filter(|_| is_of_service(path));
        for (_, operation) in members_mut(item) {
            for (status, name, _) in of_all.iter().chain(of_services.clone()) {
                let answer = &mut operation["responses"][status.to_string()];
                if answer.is_null() {
                    *answer = json!({"$ref": format!("#/components/responses/{name}")});
                }
            }
        }
    }
    for (_, name, response) in of_all.iter().chain(&of_services) {
        add(&mut merged["components"]["responses"], name, response);
    }
}

/// Adds what the gateway says in the head of an answer besides, as far as its operation has it.
fn add_headers(merged: &mut Value) {
    let (counted, versioned) = (counted(), versioned());
    for (path, item) in members_mut(&mut merged["paths"]) {
        for (_, operation) in members_mut(item) {
            // Where it may be too much, it is counted.
            let is_counted = !operation["responses"]["429"].is_null();
            let counted = counted.iter().filter(|_| is_counted);
            let versioned = versioned.iter().filter(|_| path.starts_with("/api/"));
            for (_, answer) in members_mut(&mut operation["responses"]) {
                name_headers(answer, counted.clone().chain(versioned.clone()));
            }
        }
    }
    // Answers of all kinds of operations refer to these.
    for (_, answer) in members_mut(&mut merged["components"]["responses"]) {
        name_headers(answer, counted.iter().chain(&versioned));
    }
    for (name, header) in counted.iter().chain(&versioned) {
        add(&mut merged["components"]["headers"], name, header);
    }
}

/// Has an answer name these headers, unless it stands elsewhere.
fn name_headers<'a>(answer: &mut Value, named: impl Iterator<Item = &'a (&'static str, Value)>) {
    if let Some(headers) = answer.get_mut("headers") {
        for (name, _) in named {
            headers[*name] = json!({"$ref": format!("#/components/headers/{name}")});
        }
    }
}

/// How the limits stand.
fn counted() -> [(&'static str, Value); 2] {
    let list = |item: &str| json!({"type": "string", "pattern": format!("^{item}(?:, {item})*$")});
    [
        (
            "RateLimit",
            json!({
                "description": "Of each policy, how many requests are left and in how many seconds all of it is back; \
                    of a 429, which policies say so and until when. Missing while nothing is counted.",
                "schema": list("\"[a-z-]+\";r=[0-9]+;t=[0-9]+"), "example": "\"requests\";r=19999;t=1",
            }),
        ),
        (
            "RateLimit-Policy",
            json!({
                "description": "Of each policy, how many requests are allowed in how many seconds.",
                "schema": list("\"[a-z-]+\";q=[0-9]+;w=[0-9]+"), "example": "\"requests\";q=20000;w=60",
            }),
        ),
    ]
}

/// That the version that was asked for is being retired.
fn versioned() -> [(&'static str, Value); 3] {
    [
        (
            "Deprecation",
            json!({
                "description": "Since when, or from when on, this version should not be used any more (RFC 9745).",
                "schema": {"type": "string", "pattern": "^@-?[0-9]+$"}, "example": "@1798761600",
            }),
        ),
        (
            "Sunset",
            json!({
                "description": "When this version may end (RFC 8594).",
                "schema": {"type": "string"}, "example": "Thu, 01 Jul 2027 00:00:00 GMT",
            }),
        ),
        (
            "Link",
            json!({
                "description": "What to do about that.",
                "schema": {"type": "string"},
                "example": "<https://shop.example/v2>; rel=\"deprecation\"; type=\"text/html\"",
            }),
        ),
    ]
}

fn is_of_service(path: &str) -> bool {
    path.starts_with("/api/") && path != "/api/openapi.json"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::reference;

    fn service(name: &'static str, paths: [&'static str; 2]) -> Value {
        Description::new(name, name, "Something.")
            .of_itself([name, "description"], paths)
            .document()
    }

    fn gateway() -> Gateway {
        Gateway {
            title: "Flower shop",
            text: "All of it.",
            operations: vec![Gateway::health("/health")],
        }
    }

    #[test]
    fn every_service_keeps_its_paths_behind_the_prefix() {
        let auth = service("auth", ["/auth/health", "/auth/openapi.json"]);
        let catalog = service("catalog", ["/catalog/health", "/catalog/openapi.json"]);
        let merged = merge(gateway(), &[auth, catalog]);
        let paths: Vec<_> = members(&merged["paths"]).map(|(path, _)| path.as_str()).collect();
        for path in ["/health", "/api/auth/health", "/api/catalog/health"] {
            assert!(paths.contains(&path), "{paths:?}");
        }
        assert!(!paths.contains(&"/api/health"), "{paths:?}");
        let responses = |path: &str| &merged["paths"][path]["get"]["responses"];
        assert!(responses("/api/auth/health")["502"].is_object());
        assert!(responses("/health").get("502").is_none());
        for status in ["400", "429", "431"] {
            assert!(responses("/health")[status].is_object(), "{status}");
        }
        assert_eq!(merged["tags"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn an_answer_names_the_headers_that_it_may_have() {
        let live = get("/health/live", "live", "Whether it lives").answers_json(
            200,
            "It does.",
            reference("Health"),
            Value::Null,
        );
        let mut gateway = gateway();
        gateway.operations.push(live);
        let document = Gateway::document("/api/openapi.json", "document", "This");
        gateway.operations.push(document);
        let merged = merge(
            gateway,
            &[service("auth", ["/auth/health", "/auth/openapi.json"])],
        );
        let headers = |path: &str| -> Vec<&str> {
            let headers = &merged["paths"][path]["get"]["responses"]["200"]["headers"];
            let names = members(headers).map(|(name, _)| name.as_str());
            names
                .filter(|name| *name != "X-Request-Id" && *name != "ETag")
                .collect()
        };
        let counted = ["RateLimit", "RateLimit-Policy"];
        let versioned = ["Deprecation", "Link", "RateLimit", "RateLimit-Policy", "Sunset"];
        assert_eq!(headers("/health/live"), Vec::<&str>::new());
        assert_eq!(headers("/health"), counted);
        assert_eq!(headers("/api/openapi.json"), versioned);
        assert_eq!(headers("/api/auth/health"), versioned);
        for name in versioned {
            assert!(merged["components"]["headers"][name].is_object(), "{name}");
        }
        // Nothing is retired that is the gateway's own.
        let responses = |path: &str| &merged["paths"][path]["get"]["responses"];
        assert!(responses("/api/auth/health")["410"].is_object());
        assert!(responses("/api/openapi.json").get("410").is_none());
    }

    #[test]
    #[should_panic(expected = "there are two of Thing")]
    fn two_things_of_one_name_are_found() {
        let service = |kind: &str| {
            Description::new("auth", "Auth", "Users.")
                .with_schema("Thing", json!({"type": kind}))
                .with(get("/auth/x", "x", "X").answers_json(200, "X.", reference("Thing"), Value::Null))
                .document()
        };
        let _ = merge(gateway(), &[service("string"), service("number")]);
    }
}
