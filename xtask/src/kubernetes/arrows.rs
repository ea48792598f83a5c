//! Who may talk to whom: network policies, held against the arrows of the architecture. An arrow within the namespace
//! counts only if both of its ends have it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rendering::{Pod, Rendering, fields, list, selects, text, title};

/// What takes orders and events, by its own tables; auth takes no events.
const WITH_EVENTS: [&str; 4] = ["catalog", "ordering", "payment", "delivery"];
const SERVICES: [&str; 5] = ["auth", "catalog", "ordering", "payment", "delivery"];

const INGRESS: &str = "namespace flower-shop/ingress=true";
const MONITORING: &str = "namespace flower-shop/monitoring=true";
const DNS: &str = "namespace kubernetes.io/metadata.name=kube-system pods k8s-app=kube-dns";
/// Any address out of the cluster.
const OUTSIDE: &str = "outside";
const POSTGRES: &str = "5432";

/// From whom, to whom, to which port.
type Arrow = (String, String, String);

pub(super) fn check(rendering: &Rendering) -> Vec<String> {
    let pods = rendering.pods();
    let mut policies = Policies::default();
    for policy in rendering.of_kind("NetworkPolicy") {
        policies.read(policy, &pods);
    }
    let mut findings = std::mem::take(&mut policies.findings);
    if !policies.denies {
        findings.push("no network policy denies everything to everybody".to_owned());
    }
    let leaving = policies.leaving_by_name(&mut findings);
    let apps: BTreeSet<&str> = pods.iter().map(Pod::app).collect();
    let (may_leave, may_arrive) = expected(&apps);
    for (side, found, wanted) in [
        ("leave", &leaving, &may_leave),
        ("arrive", &policies.arriving, &may_arrive),
    ] {
        let said =
            |(from, to, port): &Arrow, how: &str| format!("{from} → {to}:{port} {how}, where arrows {side}");
        findings.extend(
            found
                .difference(wanted)
                .map(|arrow| said(arrow, "is no arrow of the architecture")),
        );
        findings.extend(
            wanted
                .difference(found)
                .map(|arrow| said(arrow, "is not let through")),
        );
    }
    findings
}

/// The arrows of docs/architecture.md that leave pods, and those that arrive at some.
fn expected(apps: &BTreeSet<&str>) -> (BTreeSet<Arrow>, BTreeSet<Arrow>) {
    let arrow =
        |from: &str, to: &str, port: &str| -> Arrow { (from.to_owned(), to.to_owned(), port.to_owned()) };
    let mut leaving = BTreeSet::new();
    let mut arriving = BTreeSet::new();
    let mut both = |from: &str, to: &str, port: &str| {
        leaving.insert(arrow(from, to, port));
        if apps.contains(to) {
            arriving.insert(arrow(from, to, port));
        }
    };
    let store = |name: &'static str| if apps.contains(name) { name } else { OUTSIDE };
    let postgres = |of: &str| {
        if apps.contains("postgres") {
            "postgres".to_owned()
        } else {
            postgres_of(of)
        }
    };
    for service in SERVICES {
        both("gateway", service, "http-app");
        both(service, &postgres(service), POSTGRES);
        both("migrate", &postgres(service), POSTGRES);
    }
    for service in WITH_EVENTS {
        both("bridge", service, "http-app");
        both("bridge", &postgres(service), POSTGRES);
    }
    both("bridge", &postgres("bridge"), POSTGRES);
    both("migrate", &postgres("bridge"), POSTGRES);
    if apps.contains("demo-data") {
        both("demo-data", &postgres("bridge"), POSTGRES);
    }
    both("gateway", store("redis"), "6379");
    both("catalog", store("redis"), "6379");
    both("bridge", store("rabbitmq"), "5672");
    for app in apps {
        leaving.insert(arrow(app, DNS, "53"));
        leaving.insert(arrow(app, DNS, "53/UDP"));
    }
    arriving.insert(arrow(INGRESS, "gateway", "http-app"));
    for app in SERVICES.into_iter().chain(["gateway", "bridge"]) {
        arriving.insert(arrow(MONITORING, app, "metrics"));
    }
    if apps.contains("rabbitmq") {
        arriving.insert(arrow(MONITORING, "rabbitmq", "metrics"));
    }
    (leaving, arriving)
}

/// Whose Postgres an address out of the cluster is: that of the one service that goes there, or else the bridge's.
///
/// # Errors
/// If several services go there.
fn owner(from: &BTreeSet<String>) -> Result<&str, String> {
    let services: Vec<&str> = from
        .iter()
        .map(String::as_str)
        .filter(|app| SERVICES.contains(app))
        .collect();
    match services[..] {
        [] => Ok("bridge"),
        [service] => Ok(service),
        _ => Err(format!(
            "{} share a Postgres out of the cluster",
            services.join(" and ")
        )),
    }
}

fn postgres_of(service: &str) -> String {
    format!("the Postgres of {service}")
}

#[derive(Default)]
struct Policies {
    leaving: BTreeSet<Arrow>,
    arriving: BTreeSet<Arrow>,
    denies: bool,
    findings: Vec<String>,
}

impl Policies {
    fn read(&mut self, policy: &Value, pods: &[Pod]) {
        let spec = &policy["spec"];
        let types = list(&spec["policyTypes"]);
        let rules = |side: &str| list(&spec[side]);
        let everybody = spec["podSelector"]
            .as_object()
            .is_some_and(serde_json::Map::is_empty);
        let silent = rules("ingress").is_empty() && rules("egress").is_empty();
        self.denies |= everybody && silent && types.len() == 2;
        let chosen: Vec<&str> = chosen(pods, &spec["podSelector"]);
        if chosen.is_empty() {
            self.findings.push(format!("{} selects nobody", title(policy)));
        }
        for (side, kind, peers) in [("ingress", "Ingress", "from"), ("egress", "Egress", "to")] {
            if !rules(side).is_empty() && !types.contains(&kind.into()) {
                self.findings
                    .push(format!("{} does not name the type {kind}", title(policy)));
            }
            for rule in rules(side) {
                self.read_rule(policy, rule, peers, &chosen, pods);
            }
        }
    }

    fn read_rule(&mut self, policy: &Value, rule: &Value, side: &str, chosen: &[&str], pods: &[Pod]) {
        let (peers, ports) = (list(&rule[side]), list(&rule["ports"]));
        if peers.is_empty() || ports.is_empty() {
            self.findings.push(format!(
                "{} lets everybody, or every port, through",
                title(policy)
            ));
        }
        for peer in peers {
            let others = others(peer, pods);
            if others.is_empty() {
                self.findings
                    .push(format!("{} names a peer that is nobody", title(policy)));
            }
            for (port, app, other) in ports
                .iter()
                .flat_map(|port| chosen.iter().map(move |app| (port, app)))
                .flat_map(|(port, app)| others.iter().map(move |other| (port, app, other)))
            {
                let port = port_name(port);
                let (app, other) = ((*app).to_owned(), other.clone());
                if side == "from" {
                    self.arriving.insert((other, app, port));
                } else {
                    self.leaving.insert((app, other, port));
                }
            }
        }
    }
}

impl Policies {
    /// The arrows that leave, with names for addresses. Whatever is wider than one machine is no store.
    fn leaving_by_name(&self, findings: &mut Vec<String>) -> BTreeSet<Arrow> {
        let mut databases: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (from, to, _) in self.leaving.iter().filter(|(_, _, port)| port == POSTGRES) {
            databases.entry(to).or_default().insert(from.clone());
        }
        let mut name = |(from, to, port): &Arrow| {
            let to = match (to.ends_with("/32"), databases.get(to.as_str())) {
                (true, Some(from)) => owner(from).map(postgres_of).unwrap_or_else(|shared| {
                    findings.push(shared);
                    to.clone()
                }),
                (true, None) => OUTSIDE.to_owned(),
                (false, _) => to.clone(),
            };
            (from.clone(), to, port.clone())
        };
        self.leaving.iter().map(&mut name).collect()
    }
}

fn chosen<'a>(pods: &'a [Pod], selector: &Value) -> Vec<&'a str> {
    let chosen = pods.iter().filter(|pod| selects(selector, &pod.labels));
    chosen.map(Pod::app).collect()
}

/// Who is at the other end.
fn others(peer: &Value, pods: &[Pod]) -> Vec<String> {
    let (namespace, pod) = (&peer["namespaceSelector"], &peer["podSelector"]);
    if let Some(address) = peer["ipBlock"]["cidr"].as_str() {
        return vec![address.to_owned()];
    }
    if namespace.is_null() {
        return chosen(pods, pod).into_iter().map(str::to_owned).collect();
    }
    let mut other = format!("namespace {}", labels(namespace));
    if !pod.is_null() {
        other = format!("{other} pods {}", labels(pod));
    }
    vec![other]
}

fn labels(selector: &Value) -> String {
    let labels = fields(&selector["matchLabels"]).map(|(key, value)| format!("{key}={}", text(value)));
    labels.collect::<Vec<_>>().join(",")
}

fn port_name(port: &Value) -> String {
    let name = match &port["port"] {
        Value::String(name) => name.clone(),
        number => number.to_string(),
    };
    match port["protocol"].as_str() {
        None | Some("TCP") => name,
        Some(protocol) => format!("{name}/{protocol}"),
    }
}
