//! What the whole shop takes and answers: the services' descriptions and the gateway's own. It is compiled for the
//! tests alone, which hold `openapi.json` against it.

use crate::domain::OWN;
use description::{Gateway, Operation, expect_file, get, merge};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const TEXT: &str = "An online flower shop. Everything is served under `/api`, and the same under `/api/v1`. Bodies are \
    JSON objects in UTF-8; unknown and duplicate fields are 422, unknown query parameters are ignored and bad values of \
    known ones 422. HEAD works where GET does; any other method is 405 with `Allow`, an unknown path 404 \
    (`/problems/no-route`). Errors are problem details (RFC 9457).";

/// The gateway's own operations: `/api/v1` has the same as `/api`.
fn own() -> Vec<Operation> {
    vec![
        Gateway::health("/health"),
        get("/health/live", "live", "Whether the gateway lives").answers_json(
            200,
            "It does.",
            json!({"$ref": "#/components/schemas/Health"}),
            Value::Null,
        ),
        Gateway::document("/api/openapi.json", "description", "This description"),
        Gateway::file("/docs", "reader", "A reader for this description", "text/html"),
        Gateway::file(
            "/docs/reader.js",
            "readerScript",
            "The reader's script",
            "text/javascript",
        ),
        Gateway::file(
            "/docs/reader.css",
            "readerStyle",
            "The reader's style",
            "text/css",
        ),
    ]
}

/// A service's document, as it is in its file: a test of the service holds that against its code.
fn service(name: &str) -> Value {
    let file = components().join(name).join("openapi.json");
    serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap()
}

fn components() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn document() -> Value {
    let services = ["auth", "catalog", "ordering", "payment", "delivery"].map(service);
    let gateway = Gateway {
        title: "Flower shop",
        text: TEXT,
        operations: own(),
    };
    merge(gateway, &services)
}

#[test]
fn the_file_that_is_served_holds_what_all_services_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    expect_file(&path, &document());
}

#[test]
fn every_own_path_is_described_and_every_description_is_a_path() {
    let served: BTreeSet<&str> = OWN
        .iter()
        .map(|(path, _)| *path)
        .filter(|path| !path.starts_with("/api/v1/"))
        .collect();
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let of_services = |path: &str| path.starts_with("/api/") && path != "/api/openapi.json";
    let described: BTreeSet<&str> = paths
        .keys()
        .map(String::as_str)
        .filter(|path| !of_services(path))
        .collect();
    assert_eq!(described, served);
}

#[test]
fn no_two_operations_share_their_name() {
    let document = document();
    let operations = document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|item| item.as_object().unwrap().values());
    let mut names: Vec<&str> = operations
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn every_path_of_a_service_leads_to_that_service() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let concrete = path.replace(['{', '}'], "");
        for operation in item.as_object().unwrap().values() {
            let tag = operation["tags"][0].as_str().unwrap();
            match crate::domain::find(&concrete) {
                Some(crate::domain::Route::Service { .. }) => {
                    assert!(path.starts_with(&format!("/api/{tag}")), "{path} is of {tag}");
                }
                other => assert!(other.is_some() && tag == "gateway", "{path}: {other:?}"),
            }
        }
    }
}
