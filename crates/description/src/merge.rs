//! The description of the whole shop, as clients see it through the gateway.

use crate::operation::{Operation, get};
use crate::problems;
use crate::service::{Description, described, healthy};
use serde_json::{Map, Value, json};

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
        healthy(get(path, "shopHealth", "How every service is doing"))
            .text("`degraded` (200) while one is down; 503 only when none answers.")
    }

    /// A document that is the same for everybody.
    #[must_use]
    pub fn document(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
        described(get(path, id, summary))
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
    merged
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn add(object: &mut Value, name: &str, part: &Value) {
    let known = object.get(name);
    assert!(known.is_none_or(|known| known == part), "there are two of {name}");
    object[name] = part.clone();
}

/// What the gateway may answer in a service's place.
fn add_failures(merged: &mut Value) {
    let mut responses = Map::new();
    let failures = [
        problems::MALFORMED,
        problems::HEAD_TOO_LARGE,
        problems::TOO_MANY_REQUESTS,
        problems::COMPONENT_FAILED,
    ];
    for (status, name, response) in problems::responses(&failures) {
        let place = json!({"$ref": format!("#/components/responses/{name}")});
        responses.insert(name, response);
        for (path, item) in merged["paths"].as_object_mut().into_iter().flatten() {
            if path.starts_with("/api/") && path != "/api/openapi.json" {
                for (_, operation) in item.as_object_mut().into_iter().flatten() {
                    let answer = &mut operation["responses"][status.to_string()];
                    if answer.is_null() {
                        *answer = place.clone();
                    }
                }
            }
        }
    }
    for (name, response) in responses {
        add(&mut merged["components"]["responses"], &name, &response);
    }
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
        assert_eq!(merged["tags"].as_array().map(Vec::len), Some(3));
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
