//! The description of one service.

use crate::expect_file;
use crate::operation::{Operation, collect, get, reference};
use http::Method;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use utoipa::ToSchema;

/// What a service's routes take and answer.
#[derive(Debug)]
pub struct Description {
    service: &'static str,
    title: &'static str,
    text: &'static str,
    pub(crate) operations: Vec<Operation>,
    /// Schemas that no operation gives.
    schemas: BTreeMap<String, Value>,
}

impl Description {
    /// A service and, in a sentence, what it is for.
    #[must_use]
    pub fn new(service: &'static str, title: &'static str, text: &'static str) -> Self {
        Self {
            service,
            title,
            text,
            operations: Vec::new(),
            schemas: BTreeMap::new(),
        }
    }

    /// The same with one more operation.
    #[must_use]
    pub fn with(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// The same with a part of a request that its shape does not name by itself.
    #[must_use]
    pub fn with_part<T: ToSchema>(mut self) -> Self {
        collect::<T>(&mut self.schemas, false);
        self
    }

    /// The same with a schema that no shape gives.
    #[must_use]
    pub fn with_schema(mut self, name: &str, schema: Value) -> Self {
        self.schemas.insert(name.to_owned(), schema);
        self
    }

    /// The same with what every service answers of itself, on its own port and as `own_paths` (its health, and this
    /// description).
    #[must_use]
    pub fn of_itself(self, ids: [&'static str; 2], own_paths: [&'static str; 2]) -> Self {
        let ([health, description], [health_path, description_path]) = (ids, own_paths);
        let of_health = |path, id| healthy(get(path, id, "How this service is doing"), "Health");
        self.with(of_health(health_path, health))
            .with(of_health("/health", "health"))
            .with(
                get("/health/live", "live", "Whether the service lives").answers_json(
                    200,
                    "It does.",
                    reference("Health"),
                    Value::Null,
                ),
            )
            .with(described(get(description_path, description, "This description")))
    }

    /// The OpenAPI document.
    ///
    /// # Panics
    /// If it names a schema that nobody gives, or gives two schemas one name.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut paths = Map::new();
        let mut responses = Map::new();
        let mut schemas = self.schemas.clone();
        for operation in &self.operations {
            let object = operation.object(self.service, &mut responses);
            let item = paths.entry(operation.path).or_insert_with(|| json!({}));
            item[operation.method.as_str().to_ascii_lowercase()] = object;
            for (name, schema) in &operation.schemas {
                let known = schemas.insert(name.clone(), schema.clone());
                assert!(
                    known.is_none_or(|known| known == *schema),
                    "two schemas are called {name}"
                );
            }
        }
        let mut document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": format!("Flower shop: {}", self.title),
                "version": env!("CARGO_PKG_VERSION"),
                "description": self.text,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "tags": [{"name": self.service, "description": self.text}],
            "paths": paths,
            "components": {
                "responses": responses, "headers": headers(), "securitySchemes": security_schemes(),
            },
        });
        document["components"]["schemas"] = with_values(&document, schemas).into();
        document
    }
}

/// Holds a component's routes and the file `openapi.json` in its `folder` against its description, or writes the file if
/// `cargo xtask describe` asks for that: it runs the tests whose names begin with `the_file_`.
///
/// # Panics
/// If a route has no description, a description no route, or the file says anything else.
pub fn expect_described<'a>(
    routes: impl Iterator<Item = (&'a Method, &'static str)>,
    description: &Description,
    folder: &str,
) {
    expect_routes(routes, description);
    expect_file(&Path::new(folder).join("openapi.json"), &description.document());
}

/// Holds a router's routes against a description: each is described and each that is described is there, but for those
/// under `/internal/`, which are the bridge's (`docs/events.md`).
///
/// # Panics
/// If one is missing on either side.
fn expect_routes<'a>(routes: impl Iterator<Item = (&'a Method, &'static str)>, description: &Description) {
    let routed: BTreeSet<String> = routes
        .filter(|(_, path)| !path.starts_with("/internal/"))
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    let operations = description.operations.iter();
    let described: BTreeSet<String> = operations
        .map(|operation| format!("{} {}", operation.method, operation.path))
        .collect();
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
        one.difference(other).cloned().collect()
    };
    let (undescribed, unserved) = (only(&routed, &described), only(&described, &routed));
    assert!(
        undescribed.is_empty() && unserved.is_empty(),
        "without a description: {undescribed:?}; without a route: {unserved:?}"
    );
}

/// An operation that tells how somebody is doing, in a body of this schema.
pub(crate) fn healthy(operation: Operation, schema: &str) -> Operation {
    operation
        .answers_json(200, "It can do its work.", reference(schema), Value::Null)
        .answers_json(503, "It cannot.", reference(schema), Value::Null)
}

/// An operation that gives an OpenAPI document.
pub(crate) fn described(operation: Operation) -> Operation {
    operation
        .answers_json(
            200,
            "An OpenAPI 3.1 document.",
            json!({"type": "object"}),
            Value::Null,
        )
        .cached()
}

fn headers() -> Value {
    json!({"RequestId": {
        "description": "Names the request: your own `x-request-id`, if it was 1 to 128 letters, digits, `.`, `_` \
            or `-`.",
        "required": true,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    }})
}

fn security_schemes() -> Value {
    json!({"bearer": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The `access_token` of `POST /auth/login` or `POST /auth/register`.",
    }})
}

/// The schemas, and the values that they and the document name.
fn with_values(document: &Value, mut schemas: BTreeMap<String, Value>) -> Map<String, Value> {
    let mut names = BTreeSet::new();
    schema_names(document, &mut names);
    loop {
        schemas
            .values()
            .for_each(|schema| schema_names(schema, &mut names));
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !schemas.contains_key(*name))
            .cloned()
            .collect();
        if missing.is_empty() {
            return schemas.into_iter().collect();
        }
        for name in missing {
            let schema = crate::values::schema_of(&name).or_else(|| shared(&name));
            assert!(schema.is_some(), "nobody says what {name} is");
            schemas.insert(name, schema.unwrap_or_default());
        }
    }
}

/// A schema of the contracts that a problem has a member of.
fn shared(name: &str) -> Option<Value> {
    use utoipa::PartialSchema as _;
    match name {
        "ShipmentId" => serde_json::to_value(contracts::ShipmentId::schema()).ok(),
        _ => None,
    }
}

fn schema_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let place = members.get("$ref").and_then(Value::as_str);
            names.extend(
                place
                    .and_then(|place| place.strip_prefix("#/components/schemas/"))
                    .map(str::to_owned),
            );
            members.values().for_each(|value| schema_names(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| schema_names(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problems;

    fn description() -> Description {
        Description::new("auth", "Auth", "Users.").with(
            get("/auth/me", "me", "Yourself")
                .answers_json(200, "You.", reference("Role"), Value::Null)
                .refuses(&[problems::NOT_FOUND]),
        )
    }

    #[test]
    fn a_document_holds_all_that_it_names() {
        let document = description().document();
        let mut names = BTreeSet::new();
        schema_names(&document, &mut names);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["Problem", "Role"]);
        assert!(document["components"]["schemas"]["Problem"].is_object());
        let answers = &document["paths"]["/auth/me"]["get"]["responses"];
        assert_eq!(answers["404"]["$ref"], "#/components/responses/NotFound");
        assert!(document["components"]["responses"]["NotFound"].is_object());
    }

    #[test]
    fn a_route_without_a_description_and_a_description_without_a_route_are_found() {
        let (get, post) = (Method::GET, Method::POST);
        let routes = [(&get, "/auth/me"), (&post, "/internal/auth/events")];
        expect_routes(routes.into_iter(), &description());
        for wrong in [
            &[(&get, "/auth/me"), (&post, "/auth/me")][..],
            &[(&get, "/auth/you")],
            &[],
        ] {
            let found = std::panic::catch_unwind(|| expect_routes(wrong.iter().copied(), &description()));
            assert!(found.is_err(), "{wrong:?}");
        }
    }

    #[test]
    #[should_panic(expected = "nobody says what Weed is")]
    fn a_schema_that_nobody_gives_is_found() {
        let operation = get("/x", "x", "X").answers_json(200, "X.", reference("Weed"), Value::Null);
        let _ = Description::new("auth", "Auth", "Users.")
            .with(operation)
            .document();
    }
}
