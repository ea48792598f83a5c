//! Ways to break a rendering. A check that lets one of them pass checks nothing.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::checks::{self, Facts};
use super::rendering::{Rendering, title};
use super::shapes;

/// Breaks what is named in each document that has it, one document at a time: whose title, where in it, and what is put
/// there instead; nothing removes it.
struct Mutation {
    of: &'static str,
    at: String,
    to: Option<Value>,
}

fn mutations() -> Vec<Mutation> {
    let put = |of, at: &str, to| Mutation {
        of,
        at: at.to_owned(),
        to: Some(to),
    };
    let without = |of, at: &str| Mutation {
        of,
        at: at.to_owned(),
        to: None,
    };
    let container = "/spec/template/spec/containers/0";
    let at = |path: &str| format!("{container}{path}");
    vec![
        // Names.
        without("ServiceAccount flower-shop", ""),
        without("ConfigMap", "/data/redis"),
        without("Secret spin-runtime-config", "/data/runtime-config.toml"),
        without("ExternalSecret", "/spec/data/0"),
        put("ExternalSecret", "/spec/secretStoreRef/name", json!("nobody")),
        put("ExternalSecret", "/spec/target/name", json!("nobody")),
        without("ServiceAccount vault", ""),
        put(
            "Deployment",
            &at("/env/3/valueFrom"),
            json!({"secretKeyRef": {"name": "flower-shop", "key": "nothing"}}),
        ),
        put(
            "Deployment bridge",
            &at("/env/1/value"),
            json!("ordering=http://nobody"),
        ),
        put(
            "Deployment bridge",
            &at("/env/1/value"),
            json!("ordering=http://ordering:81"),
        ),
        put("Deployment", "/metadata/namespace", json!("default")),
        put(
            "Deployment bridge",
            "/spec/template/spec/serviceAccountName",
            json!("nobody"),
        ),
        put(
            "Deployment",
            "/spec/template/metadata/labels/app.kubernetes.io~1name",
            json!("nobody"),
        ),
        put(
            "Service",
            "/spec/selector/app.kubernetes.io~1name",
            json!("nobody"),
        ),
        put("Service", "/spec/ports/0/targetPort", json!("nothing")),
        put(
            "PodDisruptionBudget",
            "/spec/selector/matchLabels/app.kubernetes.io~1name",
            json!("nobody"),
        ),
        put("Deployment auth", "/metadata/name", json!("catalog")),
        put("Deployment bridge", &at("/env/3/name"), json!("ANOTHER_PASSWORD")),
        without("Job migrate", "/spec/template/spec/volumes/0/secret/items"),
        put(
            "Deployment",
            "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels/app.kubernetes.io~1part-of",
            json!("nobody"),
        ),
        put(
            "ExternalSecret flower-shop-migrate",
            "/spec/target/template/data/passwords.toml",
            json!("auth = {{ .auth_postgres_password }}"),
        ),
        // Closed pods.
        without("Deployment", "/spec/template/spec/securityContext/runAsNonRoot"),
        put(
            "Deployment",
            "/spec/template/spec/securityContext/runAsUser",
            json!(0),
        ),
        without("Deployment", "/spec/template/spec/securityContext/seccompProfile"),
        without("Job", "/spec/template/spec/automountServiceAccountToken"),
        without("StatefulSet", &at("/securityContext/readOnlyRootFilesystem")),
        without("Deployment", &at("/securityContext/allowPrivilegeEscalation")),
        without("Deployment", &at("/securityContext/capabilities/drop/0")),
        put(
            "Deployment",
            &at("/securityContext/capabilities/add"),
            json!(["NET_ADMIN"]),
        ),
        without("Deployment", &at("/resources/limits/memory")),
        without("Job", &at("/resources/limits/cpu")),
        put("Job", "/kind", json!("CronJob")),
        put("Deployment", "/spec/template/spec/hostPID", json!(true)),
        put(
            "Deployment",
            &at("/envFrom"),
            json!([{"secretRef": {"name": "flower-shop"}}]),
        ),
        put("Deployment", &at("/securityContext/runAsNonRoot"), json!(false)),
        put("Deployment", &at("/securityContext/runAsUser"), json!(0)),
        put(
            "Deployment",
            &at("/securityContext/seccompProfile"),
            json!({"type": "Unconfined"}),
        ),
        put("Deployment", &at("/image"), json!("flower-shop:latest")),
        put("SpinApp", "/spec/image", json!("registry/flower-shop-auth:0.0.9")),
        without("Deployment", "/spec/template/spec/enableServiceLinks"),
        without("StatefulSet", &at("/resources/requests/memory")),
        put("StatefulSet", &at("/securityContext/privileged"), json!(true)),
        put(
            "Deployment",
            "/spec/template/spec/initContainers",
            json!([{"name": "any", "image": "any:1"}]),
        ),
        // Variables.
        put(
            "Deployment gateway",
            &at("/env/0/name"),
            json!("SPIN_VARIABLE_NOTHING"),
        ),
        put("SpinApp", "/spec/variables/0/name", json!("nothing")),
        without("SpinApp", "/spec/variables/0"),
        without("SpinApp", ""),
        // The way in.
        put(
            "Ingress",
            "/spec/rules/0/http/paths/0/backend/service/name",
            json!("ordering"),
        ),
        put(
            "Ingress",
            "/spec/rules/0/http/paths/0/backend/service/port/number",
            json!(8003),
        ),
        put(
            "Ingress",
            "/spec/defaultBackend",
            json!({"service": {"name": "payment", "port": {"number": 80}}}),
        ),
        put("Service", "/spec/type", json!("LoadBalancer")),
        put("Deployment", &at("/ports/0/hostPort"), json!(8000)),
        put("Deployment", "/spec/template/spec/hostNetwork", json!(true)),
        // Scaling.
        put(
            "HorizontalPodAutoscaler",
            "/spec/scaleTargetRef/name",
            json!("nobody"),
        ),
        put("ScaledObject", "/spec/scaleTargetRef/name", json!("gateway")),
        without("ScaledObject", ""),
        put("SpinApp", "/spec/enableAutoscaling", json!(true)),
        without("SpinApp", "/spec/replicas"),
        without("SpinApp", "/spec/enableAutoscaling"),
        without("SpinAppExecutor", ""),
        // Arrows.
        without("NetworkPolicy", ""),
        without("NetworkPolicy", "/spec/podSelector/matchExpressions/0/values/0"),
        put("NetworkPolicy gateway", "/spec/podSelector", json!({})),
        put("NetworkPolicy", "/spec/ingress/0/from", json!([])),
        put(
            "NetworkPolicy",
            "/spec/ingress/0/from/0",
            json!({"namespaceSelector": {}}),
        ),
        put(
            "NetworkPolicy",
            "/spec/ingress/0/from/0",
            json!({"podSelector": {"matchLabels": {}}}),
        ),
        put(
            "NetworkPolicy",
            "/spec/egress/0/to/0",
            json!({"ipBlock": {"cidr": "0.0.0.0/0"}}),
        ),
        put(
            "NetworkPolicy",
            "/spec/egress/0/to/0",
            json!({"podSelector": {"matchLabels": {"app.kubernetes.io/name": "auth"}}}),
        ),
        put("NetworkPolicy", "/spec/egress/0/ports", json!([])),
        put(
            "NetworkPolicy ordering-to-postgres",
            "/spec/egress/0/to/0/ipBlock/cidr",
            json!("192.0.2.14/32"),
        ),
        // Shapes.
        put("SpinApp", "/spec/imagePullPolicy", json!("Always")),
        put("SpinApp", "/spec/checks/readiness/httpGet/port", json!(80)),
        put("ScaledObject", "/spec/triggers/0/metadata/threshold", json!(5)),
        put("ScaledObject", "/spec/maxReplicas", json!(5)),
        put(
            "SecretStore",
            "/spec/provider/vault/url",
            json!("https://vault.example"),
        ),
        put(
            "ExternalSecret",
            "/spec/data/0/remoteRef/name",
            json!("flower-shop"),
        ),
    ]
}

/// Which mutations had something to break, over all renderings.
#[derive(Default)]
pub(super) struct Tried(BTreeSet<usize>);

impl Tried {
    /// Breaks a rendering that is right in all these ways, one after another.
    ///
    /// # Errors
    /// If a check does not notice, with what was done.
    pub(super) fn are_noticed(&mut self, rendering: &Rendering, facts: &Facts) -> Result<()> {
        for (number, mutation) in mutations().iter().enumerate() {
            for (index, document) in rendering.documents.iter().enumerate() {
                let mut broken = rendering.clone();
                let applied = mutation.is_about(&title(document)) && apply(&mut broken, index, mutation);
                if !applied || broken.documents == rendering.documents {
                    continue;
                }
                self.0.insert(number);
                let misshapen = broken
                    .documents
                    .get(index)
                    .is_some_and(|document| shapes::check(document).is_err());
                ensure!(
                    misshapen || !checks::all(&broken, facts).is_empty(),
                    "nobody notices when {} has {} at {:?}",
                    title(document),
                    mutation
                        .to
                        .as_ref()
                        .map_or_else(|| "nothing".to_owned(), Value::to_string),
                    mutation.at
                );
            }
        }
        Ok(())
    }

    /// # Errors
    /// If a mutation is about nothing that is there any more.
    pub(super) fn are_all(&self) -> Result<()> {
        for (number, mutation) in mutations().iter().enumerate() {
            ensure!(
                self.0.contains(&number),
                "no overlay has a {} with {:?} to break",
                mutation.of,
                mutation.at
            );
        }
        Ok(())
    }
}

impl Mutation {
    /// Of a kind, or of one document; the names of generated ones end with a hash.
    fn is_about(&self, title: &str) -> bool {
        title.strip_prefix(self.of).is_some_and(|rest| {
            let generated = self.of.starts_with("Secret ") && rest.starts_with('-');
            rest.is_empty() || rest.starts_with(' ') || generated
        })
    }
}

/// Whether there was something to break.
fn apply(broken: &mut Rendering, index: usize, mutation: &Mutation) -> bool {
    let Some((parent, last)) = mutation.at.rsplit_once('/') else {
        broken.documents.remove(index);
        return true;
    };
    let last = last.replace("~1", "/");
    let Some(parent) = broken.documents[index].pointer_mut(parent) else {
        return false;
    };
    match (&mutation.to, parent) {
        (Some(to), Value::Object(fields)) => {
            fields.insert(last, to.clone());
            true
        }
        (None, Value::Object(fields)) => fields.remove(&last).is_some(),
        (to, Value::Array(elements)) => {
            let Some(place) = last.parse::<usize>().ok().filter(|place| *place < elements.len()) else {
                return false;
            };
            match to {
                Some(to) => elements[place] = to.clone(),
                None => {
                    elements.remove(place);
                }
            }
            true
        }
        _ => false,
    }
}
