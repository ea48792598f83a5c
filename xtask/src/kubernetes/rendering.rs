//! What an overlay renders to: documents, and the pods that come of them. A SpinApp's pods are seen as the operator makes
//! them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

pub(super) const NAME: &str = "app.kubernetes.io/name";
const NONE: Value = Value::Null;

/// The documents of a YAML text.
pub(super) fn documents(text: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).context("not YAML")
}

/// An array's elements, or none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An object's fields, or none.
pub(super) fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `Deployment gateway`.
pub(super) fn title(document: &Value) -> String {
    format!(
        "{} {}",
        text(&document["kind"]),
        text(&document["metadata"]["name"])
    )
}

#[derive(Clone)]
pub(super) struct Rendering {
    pub(super) documents: Vec<Value>,
}

/// What runs: of a Deployment, a StatefulSet, a Job or a SpinApp.
pub(super) struct Pod {
    pub(super) owner: String,
    pub(super) labels: Value,
    /// Names and numbers.
    pub(super) ports: BTreeSet<String>,
    pub(super) service_account: String,
    /// What its one container finds in its environment, in this order.
    pub(super) env: Vec<Value>,
    pub(super) volumes: Vec<Value>,
    /// As written; a SpinApp writes none.
    pub(super) spec: Option<Value>,
}

impl Rendering {
    pub(super) fn new(documents: Vec<Value>) -> Self {
        Self { documents }
    }

    pub(super) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents
            .iter()
            .filter(move |document| document["kind"] == kind)
    }

    pub(super) fn has(&self, kind: &str, name: &str) -> bool {
        self.of_kind(kind)
            .any(|document| document["metadata"]["name"] == name)
    }

    pub(super) fn pods(&self) -> Vec<Pod> {
        let written = ["Deployment", "StatefulSet", "Job"]
            .into_iter()
            .flat_map(|kind| self.of_kind(kind))
            .map(written);
        written.chain(self.of_kind("SpinApp").map(of_spin_app)).collect()
    }

    /// What a Service of the cluster's answers to: ports by name. A SpinApp brings one.
    pub(super) fn services(&self) -> BTreeMap<&str, BTreeSet<u64>> {
        let written = self.of_kind("Service").map(|service| {
            let ports = list(&service["spec"]["ports"])
                .iter()
                .filter_map(|port| port["port"].as_u64());
            (text(&service["metadata"]["name"]), ports.collect())
        });
        let brought = self
            .of_kind("SpinApp")
            .map(|app| (text(&app["metadata"]["name"]), BTreeSet::from([80])));
        written.chain(brought).collect()
    }
}

fn written(document: &Value) -> Pod {
    let template = &document["spec"]["template"];
    let spec = &template["spec"];
    let containers = list(&spec["containers"]);
    let mut ports = BTreeSet::new();
    for port in containers.iter().flat_map(|container| list(&container["ports"])) {
        ports.insert(text(&port["name"]).to_owned());
        ports.insert(port["containerPort"].to_string());
    }
    let env = containers
        .iter()
        .flat_map(|container| list(&container["env"]))
        .cloned();
    Pod {
        owner: title(document),
        labels: template["metadata"]["labels"].clone(),
        ports,
        service_account: spec["serviceAccountName"]
            .as_str()
            .unwrap_or("default")
            .to_owned(),
        env: env.collect(),
        volumes: list(&spec["volumes"]).to_vec(),
        spec: Some(spec.clone()),
    }
}

fn of_spin_app(document: &Value) -> Pod {
    let spec = &document["spec"];
    let env = list(&spec["variables"]).iter().map(|variable| {
        let mut env = variable.clone();
        env["name"] = format!("SPIN_VARIABLE_{}", text(&variable["name"]).to_uppercase()).into();
        env
    });
    let config = &spec["runtimeConfig"]["loadFromSecret"];
    let volume = json!({ "secret": { "secretName": config, "items": [{ "key": "runtime-config.toml" }] } });
    Pod {
        owner: title(document),
        labels: spec["podLabels"].clone(),
        ports: BTreeSet::from(["http-app".to_owned(), "80".to_owned()]),
        service_account: spec["serviceAccountName"]
            .as_str()
            .unwrap_or("default")
            .to_owned(),
        env: env.collect(),
        volumes: if *config == NONE { Vec::new() } else { vec![volume] },
        spec: None,
    }
}

impl Pod {
    /// `gateway`, by its label.
    pub(super) fn app(&self) -> &str {
        text(&self.labels[NAME])
    }
}

/// Whether a selector selects who has these labels. One that selects everybody does.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let same = fields(&selector["matchLabels"]).all(|(key, value)| labels[key] == *value);
    same && list(&selector["matchExpressions"]).iter().all(|expression| {
        let label = &labels[text(&expression["key"])];
        let among = list(&expression["values"]).contains(label);
        match text(&expression["operator"]) {
            "In" => among,
            "NotIn" => !among,
            "Exists" => *label != NONE,
            "DoesNotExist" => *label == NONE,
            _ => false,
        }
    })
}
