//! What schemas do not see: that names name something, that pods are closed, that components get their variables, and
//! that nobody but the gateway is reached from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::arrows;
use super::rendering::{Pod, Rendering, fields, list, selects, text, title};
use crate::checkout::Checkout;

/// What is deployed is what this checkout releases.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What makes pods and is not looked into here.
const UNCHECKED: [&str; 5] = [
    "CronJob",
    "DaemonSet",
    "Pod",
    "ReplicaSet",
    "ReplicationController",
];

const NAMESPACE: &str = "flower-shop";
/// Whose names are the cluster's, not a namespace's.
const OF_THE_CLUSTER: [&str; 1] = ["Namespace"];

/// What a rendering is held against.
pub(super) struct Facts {
    /// The variables that each service's own manifest has, and whether they must be given in a cluster.
    variables: BTreeMap<String, BTreeMap<String, bool>>,
    /// The Secrets that `make-secrets` prints.
    pub(super) secrets: Vec<Value>,
    /// Whose logins have a password, by the folders of `migrations/`.
    logins: BTreeSet<String>,
}

impl Facts {
    /// From the checkout, where the services' manifests have been written.
    pub(super) fn read(checkout: &Checkout, secrets: Vec<Value>) -> Result<Self> {
        let mut variables = BTreeMap::new();
        for manifest in entries_of(&checkout.target().join("manifests"))? {
            let text = fs::read_to_string(&manifest)
                .with_context(|| format!("cannot read {}", manifest.display()))?;
            let table: toml::Table = text.parse().with_context(|| manifest.display().to_string())?;
            let declared = table.get("variables").and_then(toml::Value::as_table);
            let read = declared
                .into_iter()
                .flatten()
                .map(|(name, variable)| (name.clone(), must_be_given(variable)));
            let component = manifest.file_stem().unwrap_or_default().to_string_lossy();
            variables.insert(component.into_owned(), read.collect());
        }
        ensure!(
            variables.contains_key("gateway"),
            "there are no manifests of services"
        );
        let logins = entries_of(&checkout.root().join("migrations"))?;
        let logins = logins
            .iter()
            .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()));
        Ok(Self {
            variables,
            secrets,
            logins: logins.collect(),
        })
    }
}

fn entries_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The names in `{{ … }}`.
fn templates(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("{{").skip(1);
    parts.filter_map(|part| Some(part.split_once("}}")?.0.trim()))
}

/// Whether it has no default, or one that leads nowhere in a cluster.
fn must_be_given(variable: &toml::Value) -> bool {
    let default = variable.get("default").and_then(toml::Value::as_str);
    default.is_none_or(|value| value.contains("://127.0.0.1"))
}

/// Everything that is amiss, a line each.
pub(super) fn all(rendering: &Rendering, facts: &Facts) -> Vec<String> {
    let mut findings = Vec::new();
    let pods = rendering.pods();
    let names = Names::of(rendering, facts);
    findings.extend(objects(rendering));
    for pod in &pods {
        findings.extend(names.missing(pod));
        findings.extend(closed(pod));
        findings.extend(addresses(rendering, pod));
    }
    findings.extend(components(&pods, facts));
    findings.extend(selectors(rendering, &pods));
    findings.extend(ways_in(rendering));
    findings.extend(scaling(rendering, &pods));
    findings.extend(vault(rendering));
    findings.extend(passwords(rendering, facts));
    findings.extend(arrows::check(rendering));
    findings
}

/// Each has a name of its own, in the one namespace.
fn objects(rendering: &Rendering) -> Vec<String> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for document in &rendering.documents {
        let title = title(document);
        let anywhere = OF_THE_CLUSTER.contains(&text(&document["kind"]));
        if !anywhere && document["metadata"]["namespace"] != NAMESPACE {
            findings.push(format!("{title} is not in the namespace {NAMESPACE}"));
        }
        if !seen.insert(title.clone()) {
            findings.push(format!("{title} is there twice"));
        }
        if UNCHECKED.contains(&text(&document["kind"])) {
            findings.push(format!("{title} makes pods that nobody checks"));
        }
        findings.extend(images(document));
    }
    findings
}

/// What pods may refer to: keys by the names of Secrets and ConfigMaps.
struct Names {
    secrets: BTreeMap<String, BTreeSet<String>>,
    config_maps: BTreeMap<String, BTreeSet<String>>,
    service_accounts: BTreeSet<String>,
}

impl Names {
    fn of(rendering: &Rendering, facts: &Facts) -> Self {
        let vault = rendering.of_kind("ExternalSecret").next().is_some();
        let made = facts.secrets.iter().filter(|_| !vault);
        let written = rendering.of_kind("Secret").chain(made).map(keyed);
        let config_maps = rendering.of_kind("ConfigMap").map(keyed);
        let accounts = rendering
            .of_kind("ServiceAccount")
            .map(|account| keyed(account).0);
        Self {
            secrets: written
                .chain(rendering.of_kind("ExternalSecret").map(external))
                .collect(),
            config_maps: config_maps.collect(),
            service_accounts: accounts.collect(),
        }
    }

    fn missing(&self, pod: &Pod) -> Vec<String> {
        let mut findings = Vec::new();
        let mut defined = BTreeSet::new();
        for env in &pod.env {
            let source = &env["valueFrom"];
            self.look_up(pod, "Secret", &source["secretKeyRef"], "name", &mut findings);
            self.look_up(
                pod,
                "ConfigMap",
                &source["configMapKeyRef"],
                "name",
                &mut findings,
            );
            for name in references(text(&env["value"])).filter(|name| !defined.contains(*name)) {
                findings.push(format!("{} uses $({name}) before it is there", pod.owner));
            }
            defined.insert(text(&env["name"]));
        }
        for volume in &pod.volumes {
            for (kind, source, name) in [
                ("Secret", "secret", "secretName"),
                ("ConfigMap", "configMap", "name"),
            ] {
                for item in list(&volume[source]["items"]) {
                    let mut reference = item.clone();
                    reference[name] = volume[source][name].clone();
                    self.look_up(pod, kind, &reference, name, &mut findings);
                }
                if !volume[source].is_null() && list(&volume[source]["items"]).is_empty() {
                    findings.push(format!("{} mounts a whole {kind}: name its keys", pod.owner));
                }
            }
        }
        // Those that the shop's own pods need; Postgres' and such have the namespace's own, without a token.
        if pod.service_account != "default" && !self.service_accounts.contains(&pod.service_account) {
            let account = &pod.service_account;
            findings.push(format!(
                "{} runs as {account:?}, which is no ServiceAccount",
                pod.owner
            ));
        }
        findings
    }

    fn look_up(&self, pod: &Pod, kind: &str, reference: &Value, name: &str, findings: &mut Vec<String>) {
        if reference.is_null() || reference["optional"] == true {
            return;
        }
        let (name, key) = (text(&reference[name]), text(&reference["key"]));
        let known = if kind == "Secret" {
            &self.secrets
        } else {
            &self.config_maps
        };
        if !known.get(name).is_some_and(|keys| keys.contains(key)) {
            findings.push(format!(
                "{} needs {key:?} of the {kind} {name:?}, which has none",
                pod.owner
            ));
        }
    }
}

fn keyed(document: &Value) -> (String, BTreeSet<String>) {
    let keys = ["data", "stringData"]
        .into_iter()
        .flat_map(|part| fields(&document[part]));
    let keys = keys.map(|(key, _)| key.clone());
    (text(&document["metadata"]["name"]).to_owned(), keys.collect())
}

/// The Secret that comes of it.
fn external(document: &Value) -> (String, BTreeSet<String>) {
    let target = &document["spec"]["target"];
    let template = &target["template"]["data"];
    let keys = if template.is_null() {
        entries(document).map(str::to_owned).collect()
    } else {
        fields(template).map(|(key, _)| key.clone()).collect()
    };
    (text(&target["name"]).to_owned(), keys)
}

fn entries(external: &Value) -> impl Iterator<Item = &str> {
    list(&external["spec"]["data"])
        .iter()
        .map(|entry| text(&entry["secretKey"]))
}

/// The names in `$(…)`.
fn references(value: &str) -> impl Iterator<Item = &str> {
    let parts = value.split("$(").skip(1);
    parts.filter_map(|part| Some(part.split_once(')')?.0))
}

/// Every image is of a version, and ours of the version that this is; by digest as well, if need be.
fn images(document: &Value) -> Vec<String> {
    let containers = list(&document["spec"]["template"]["spec"]["containers"]).iter();
    let images = containers.map(|container| &container["image"]);
    let of_spin = (document["kind"] == "SpinApp").then_some(&document["spec"]["image"]);
    let mut findings = Vec::new();
    for image in images.chain(of_spin) {
        let image = text(image);
        let named = image.split_once('@').map_or(image, |(named, _digest)| named);
        let (name, tag) = named.rsplit_once(':').unwrap_or_default();
        if tag.is_empty() || tag == "latest" {
            findings.push(format!("{} has an image without a version", title(document)));
        }
        if name.contains("flower-shop-") && tag != VERSION {
            findings.push(format!(
                "{} has an image that is not of {VERSION}",
                title(document)
            ));
        }
    }
    findings
}

/// Non-root, nothing to write to but what is said, nothing to gain, bounded, and no token. A SpinApp cannot say so.
fn closed(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            findings.push(format!("{} {what}", pod.owner));
        }
    };
    let context = &spec["securityContext"];
    demand(context["runAsNonRoot"] == true, "may run as root");
    demand(
        context["runAsUser"].as_u64().is_some_and(|user| user > 0),
        "does not say as whom it runs",
    );
    demand(
        context["seccompProfile"]["type"] == "RuntimeDefault",
        "has no seccomp profile",
    );
    demand(
        spec["automountServiceAccountToken"] == false,
        "has a token of Kubernetes",
    );
    demand(
        spec["enableServiceLinks"] == false,
        "has every Service in its environment",
    );
    demand(
        list(&spec["initContainers"]).is_empty(),
        "has containers that nobody checks",
    );
    for container in list(&spec["containers"]) {
        let context = &container["securityContext"];
        demand(
            context["readOnlyRootFilesystem"] == true,
            "can write to its own files",
        );
        demand(
            context["allowPrivilegeEscalation"] == false,
            "can gain privileges",
        );
        demand(context["privileged"] != true, "is privileged");
        demand(
            context["capabilities"]["drop"] == serde_json::json!(["ALL"])
                && context["capabilities"]["add"].is_null(),
            "keeps capabilities",
        );
        for bound in ["requests", "limits"] {
            for resource in ["cpu", "memory"] {
                let given = !container["resources"][bound][resource].is_null();
                demand(given, &format!("has no {resource} in its {bound}"));
            }
        }
        demand(
            context["runAsNonRoot"] != false && context["runAsUser"].is_null(),
            "may run as root after all",
        );
        demand(context["seccompProfile"].is_null(), "has a seccomp profile aside");
        demand(
            list(&container["envFrom"]).is_empty(),
            "has all that is in a Secret or ConfigMap in its environment",
        );
    }
    for shared in ["hostPID", "hostIPC"] {
        demand(spec[shared].is_null(), "shares something with its node");
    }
    findings
}

/// Hosts without a dot are Services of the namespace, and answer on that port.
fn addresses(rendering: &Rendering, pod: &Pod) -> Vec<String> {
    let services = rendering.services();
    let mut findings = Vec::new();
    for (scheme, host, port) in environment(rendering, pod).values().flat_map(|value| urls(value)) {
        if host.contains('.') {
            continue;
        }
        let port = port.or(match scheme.as_str() {
            "http" => Some(80),
            _ => None,
        });
        match services.get(host.as_str()) {
            None => findings.push(format!("{} goes to {host:?}, which is no Service", pod.owner)),
            Some(ports) if !port.is_some_and(|port| ports.contains(&port)) => {
                findings.push(format!(
                    "{} goes to a port that the Service {host:?} has not",
                    pod.owner
                ));
            }
            Some(_) => {}
        }
    }
    findings
}

/// What a pod finds in its environment, as far as it is not secret.
fn environment(rendering: &Rendering, pod: &Pod) -> BTreeMap<String, String> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for env in &pod.env {
        let from = &env["valueFrom"]["configMapKeyRef"];
        let config_map = rendering
            .of_kind("ConfigMap")
            .find(|config_map| config_map["metadata"]["name"] == from["name"]);
        let mut value = match config_map {
            Some(config_map) => text(&config_map["data"][text(&from["key"])]).to_owned(),
            None => text(&env["value"]).to_owned(),
        };
        for (name, known) in &known {
            value = value.replace(&format!("$({name})"), known);
        }
        known.insert(text(&env["name"]).to_owned(), value);
    }
    known
}

/// Scheme, host and port of each address in a text.
fn urls(value: &str) -> Vec<(String, String, Option<u64>)> {
    let ends = |letter: char| letter.is_whitespace() || matches!(letter, '/' | '?' | ',' | '#');
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("://") {
        let scheme = before
            .rsplit(|letter: char| !letter.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        let authority = after.split(ends).next().unwrap_or_default();
        let place = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (place, None),
        };
        found.push((scheme.to_owned(), host.to_owned(), port));
        rest = after;
    }
    found
}

/// A component gets every variable that it needs, and none that it does not read.
fn components(pods: &[Pod], facts: &Facts) -> Vec<String> {
    let mut findings = Vec::new();
    for (component, variables) in &facts.variables {
        let mut own = pods.iter().filter(|pod| pod.app() == component);
        let (Some(pod), None) = (own.next(), own.next()) else {
            findings.push(format!("the component {component} does not run, or in two ways"));
            continue;
        };
        let given: BTreeSet<String> = pod
            .env
            .iter()
            .filter_map(|env| text(&env["name"]).strip_prefix("SPIN_VARIABLE_"))
            .map(str::to_lowercase)
            .collect();
        let missing = variables
            .iter()
            .filter(|(name, needed)| **needed && !given.contains(*name));
        findings.extend(missing.map(|(name, _)| format!("{} does not get {name:?}", pod.owner)));
        let unread = given.iter().filter(|name| !variables.contains_key(*name));
        findings.extend(unread.map(|name| format!("{} gets {name:?}, which it does not read", pod.owner)));
    }
    findings
}

/// Who selects pods selects some; a Service's port is one of theirs.
fn selectors(rendering: &Rendering, pods: &[Pod]) -> Vec<String> {
    let mut findings = Vec::new();
    for service in rendering.of_kind("Service") {
        let own = pods.iter().filter(|pod| {
            let mut labels = fields(&service["spec"]["selector"]);
            labels.all(|(key, value)| pod.labels[key] == *value)
        });
        let own: Vec<&Pod> = own.collect();
        let ports = list(&service["spec"]["ports"]);
        let answered = ports.iter().all(|port| {
            let target = match &port["targetPort"] {
                Value::Null => port["port"].to_string(),
                Value::String(name) => name.clone(),
                number => number.to_string(),
            };
            own.iter().all(|pod| pod.ports.contains(&target))
        });
        if own.len() != 1 || !answered {
            findings.push(format!(
                "{} does not lead to a port of one kind of pod",
                title(service)
            ));
        }
    }
    for budget in rendering.of_kind("PodDisruptionBudget") {
        if !pods
            .iter()
            .any(|pod| selects(&budget["spec"]["selector"], &pod.labels))
        {
            findings.push(format!("{} selects nobody", title(budget)));
        }
    }
    let kinds = ["Deployment", "StatefulSet"];
    for owner in kinds.into_iter().flat_map(|kind| rendering.of_kind(kind)) {
        let labels = &owner["spec"]["template"]["metadata"]["labels"];
        let spread = list(&owner["spec"]["template"]["spec"]["topologySpreadConstraints"]);
        let selectors = spread
            .iter()
            .map(|spread| &spread["labelSelector"])
            .chain([&owner["spec"]["selector"]]);
        if !selectors.into_iter().all(|selector| selects(selector, labels)) {
            findings.push(format!("{} does not select its own pods", title(owner)));
        }
    }
    findings
}

/// From outside there is a way to the gateway, and to nobody else.
fn ways_in(rendering: &Rendering) -> Vec<String> {
    let services = rendering.services();
    let mut findings = Vec::new();
    let mut backends = Vec::new();
    for ingress in rendering.of_kind("Ingress") {
        let paths = list(&ingress["spec"]["rules"])
            .iter()
            .flat_map(|rule| list(&rule["http"]["paths"]));
        backends.extend(paths.map(|path| &path["backend"]));
        backends.extend(Some(&ingress["spec"]["defaultBackend"]).filter(|backend| !backend.is_null()));
    }
    let leads = |backend: &&Value| {
        let port = backend["service"]["port"]["number"].as_u64();
        let ports = services.get("gateway");
        backend["service"]["name"] == "gateway"
            && ports.is_some_and(|ports| port.is_some_and(|port| ports.contains(&port)))
    };
    if backends.is_empty() || !backends.iter().all(leads) {
        findings.push("the Ingress does not lead to the gateway, or not to it alone".to_owned());
    }
    for service in rendering.of_kind("Service") {
        if !matches!(service["spec"]["type"].as_str(), None | Some("ClusterIP"))
            || !service["spec"]["externalIPs"].is_null()
        {
            findings.push(format!(
                "{} is reached from outside of the cluster",
                title(service)
            ));
        }
    }
    for pod in rendering.pods() {
        let spec = pod.spec.unwrap_or_default();
        let ports = list(&spec["containers"])
            .iter()
            .flat_map(|container| list(&container["ports"]));
        if spec["hostNetwork"] == true || ports.into_iter().any(|port| !port["hostPort"].is_null()) {
            findings.push(format!("{} is reached by its node's address", pod.owner));
        }
    }
    findings
}

/// One autoscaler for each, of something that is there and has no number of its own.
fn scaling(rendering: &Rendering, pods: &[Pod]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut scaled = BTreeSet::new();
    let kinds = ["HorizontalPodAutoscaler", "ScaledObject"];
    for scaler in kinds.into_iter().flat_map(|kind| rendering.of_kind(kind)) {
        let target = text(&scaler["spec"]["scaleTargetRef"]["name"]);
        let is_target = |document: &&Value| {
            matches!(text(&document["kind"]), "Deployment" | "SpinApp")
                && document["metadata"]["name"] == target
        };
        match rendering.documents.iter().find(is_target) {
            None => findings.push(format!("{} scales {target:?}, which is not there", title(scaler))),
            Some(document) if !document["spec"]["replicas"].is_null() => {
                findings.push(format!(
                    "{} has a number of its own and an autoscaler",
                    title(document)
                ));
            }
            Some(_) => {}
        }
        if !scaled.insert(target) {
            findings.push(format!("{target} has two autoscalers"));
        }
    }
    for app in rendering.of_kind("SpinApp") {
        // The operator refuses both, and neither.
        let automatic = app["spec"]["enableAutoscaling"] == true;
        if automatic != app["spec"]["replicas"].is_null() {
            findings.push(format!(
                "{} has both `replicas` and `enableAutoscaling`, or neither",
                title(app)
            ));
        }
        if automatic != scaled.contains(text(&app["metadata"]["name"])) {
            findings.push(format!(
                "{} says that it is scaled and is not, or the reverse",
                title(app)
            ));
        }
        let executor = text(&app["spec"]["executor"]);
        if !rendering.has("SpinAppExecutor", executor) {
            findings.push(format!(
                "{} has the executor {executor:?}, which is not there",
                title(app)
            ));
        }
    }
    if !scaled.is_empty() {
        let alone = pods
            .iter()
            .map(Pod::app)
            .filter(|app| !scaled.contains(app) && *app != "migrate");
        findings.extend(alone.map(|app| format!("{app} has no autoscaler, others have")));
    }
    findings
}

/// What comes from Vault: the store is there, and what templates use is asked for.
fn vault(rendering: &Rendering) -> Vec<String> {
    let mut findings = Vec::new();
    for secret in rendering.of_kind("ExternalSecret") {
        let store = text(&secret["spec"]["secretStoreRef"]["name"]);
        if !rendering.has("SecretStore", store) {
            findings.push(format!(
                "{} asks {store:?}, which is no SecretStore",
                title(secret)
            ));
        }
        let asked: BTreeSet<&str> = entries(secret).collect();
        for (key, template) in fields(&secret["spec"]["target"]["template"]["data"]) {
            let used = templates(text(template)).filter_map(|used| used.split_whitespace().next());
            let used = used.map(|used| used.trim_start_matches('.'));
            let unknown = used.filter(|used| !asked.contains(used));
            findings.extend(unknown.map(|used| format!("{}: {key:?} uses {used:?}", title(secret))));
        }
    }
    for store in rendering.of_kind("SecretStore") {
        let account = &store["spec"]["provider"]["vault"]["auth"]["kubernetes"]["serviceAccountRef"]["name"];
        if !rendering.has("ServiceAccount", text(account)) {
            findings.push(format!("{} is nobody to Vault", title(store)));
        }
    }
    findings
}

/// Every login gets a password.
fn passwords(rendering: &Rendering, facts: &Facts) -> Vec<String> {
    let written = facts.secrets.iter().map(|secret| &secret["stringData"]);
    let templates = rendering
        .of_kind("ExternalSecret")
        .map(|secret| &secret["spec"]["target"]["template"]["data"]);
    let files: Vec<&str> = written
        .chain(templates)
        .map(|data| text(&data["passwords.toml"]))
        .filter(|file| !file.is_empty())
        .collect();
    let mut findings = Vec::new();
    for file in files {
        let given: BTreeSet<&str> = file
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0.trim()))
            .collect();
        let lacking = facts
            .logins
            .iter()
            .filter(|login| !given.contains(login.as_str()));
        findings.extend(lacking.map(|login| format!("the login of {login} gets no password")));
    }
    findings
}
