//! The alert rules of deploy/prometheus: each has a runbook, each names metrics that are really exported, and each fires
//! in a real Prometheus when its fault is caused.

use crate::alone;
use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use serde_json::Value;
use shop_tests::environment::root;
use shop_tests::proxy::{Mood, Proxy};
use shop_tests::shop::{free_port, free_ports};
use shop_tests::swappable::Files;
use shop_tests::{Actor, Shop, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::MissedTickBehavior;

const PATIENCE: Duration = Duration::from_secs(90);

/// The alerts of the file and their expressions.
fn rules() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yml"))?;
    let mut rules = BTreeMap::new();
    let mut alert = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alert = Some(name.to_owned());
        } else if let Some(expression) = line.strip_prefix("expr: ") {
            let alert = alert.take().context("an expression without an alert")?;
            rules.insert(alert, expression.to_owned());
        }
    }
    ensure!(rules.len() >= 10, "only {} rules were read", rules.len());
    Ok(rules)
}

/// The names of our own metrics in an expression, without what a histogram adds to them.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| {
        ["bridge_", "embedded_host_", "ordering_", "spans_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    });
    let bare = ours.map(|word| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let bare = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
        bare.unwrap_or(word).to_owned()
    });
    bare.collect()
}

/// The expressions of a dashboard, wherever they stand.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| expressions(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() -> Result<()> {
    let folder = root().join("docs/runbooks");
    let mut books = BTreeSet::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_stem().context("a file without a name")?;
        let name = name.to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path)?;
        for heading in [
            &format!("# {name}\n"),
            "\n## What it means\n",
            "\n## What to look at\n",
            "\n## What to do\n",
        ] {
            ensure!(text.contains(heading), "{name}: no {heading:?}");
        }
        books.insert(name);
    }
    let alerts: BTreeSet<String> = rules()?.into_keys().collect();
    assert_eq!(alerts, books);
    let text = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yml"))?;
    for alert in alerts {
        ensure!(
            text.contains(&format!("runbook_url: docs/runbooks/{alert}.md")),
            "{alert}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_metric_of_rules_and_dashboards_is_exported() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    // Nobody is there to take spans: that is counted, too.
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    shop.start_host_with(&["--otlp-endpoint".to_owned(), nobody.clone()])
        .await?;
    shop.start_relay(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody)])
        .await?;
    let user = shop.anonymous()?.register().await?;
    let order_id = user.order_once_known(&user.rose().await?, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;

    let mut named: BTreeSet<String> = rules()?.values().flat_map(|rule| metrics_in(rule)).collect();
    for entry in std::fs::read_dir(root().join("deploy/grafana/dashboards"))? {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
        let mut found = Vec::new();
        expressions(&dashboard, &mut found);
        named.extend(found.iter().flat_map(|expression| metrics_in(expression)));
    }
    ensure!(named.len() > 20, "only {named:?} were found");
    eventually("every metric is exported", PATIENCE, async || {
        let mut exported = BTreeSet::new();
        for address in shop.metrics() {
            let text = reqwest::get(format!("http://{address}/metrics"))
                .await?
                .text()
                .await?;
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            exported
                .extend(lines.flat_map(|line| metrics_in(line.split(['{', ' ']).next().unwrap_or_default())));
        }
        let missed: Vec<&String> = named.difference(&exported).collect();
        ensure!(missed.is_empty(), "{missed:?}");
        Ok(Some(()))
    })
    .await
}

/// A Prometheus at work; it ends with this value.
struct Prometheus {
    base: String,
    _process: Child,
}

impl Prometheus {
    /// `None` where there is none on this machine.
    async fn watching(shop: &Shop) -> Result<Option<Self>> {
        let Some(program) = on_path("prometheus") else {
            return Ok(None);
        };
        let folder = shop.folder().join("prometheus");
        std::fs::create_dir_all(&folder)?;
        let rules = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yml"))?;
        std::fs::write(folder.join("alerts.yml"), hurried(&rules))?;
        let targets = serde_json::to_string(&shop.metrics())?;
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: bridge\n    static_configs: [{{ targets: {targets} }}]\n"
        );
        std::fs::write(folder.join("prometheus.yml"), config)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let log = std::fs::File::create(folder.join("log"))?;
        let process = Command::new(program)
            .current_dir(&folder)
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let prometheus = Self {
            base: format!("http://{address}"),
            _process: process,
        };
        let ready = async || Ok(prometheus.ask("/api/v1/rules").await.ok().map(|_| ()));
        eventually("Prometheus answers", PATIENCE, ready).await?;
        Ok(Some(prometheus))
    }

    async fn ask(&self, path: &str) -> Result<Value> {
        let answer = reqwest::get(format!("{}{path}", self.base)).await?;
        let body: Value = answer.error_for_status()?.json().await?;
        ensure!(body["status"] == "success", "{body}");
        Ok(body["data"].clone())
    }

    /// Waits until each of these alerts has fired, be it at another time than the others.
    async fn expect(&self, wanted: &[&str]) -> Result<()> {
        let what = format!("{wanted:?} fire");
        let mut fired = BTreeSet::new();
        eventually(&what, PATIENCE, async || {
            let data = self.ask("/api/v1/alerts").await?;
            let alerts = data["alerts"].as_array().into_iter().flatten();
            let firing = alerts.filter(|alert| alert["state"] == "firing");
            let names = firing.filter_map(|alert| alert["labels"]["alertname"].as_str());
            fired.extend(names.map(str::to_owned));
            let missed: Vec<&&str> = wanted.iter().filter(|name| !fired.contains(**name)).collect();
            ensure!(missed.is_empty(), "{missed:?} of {fired:?}");
            Ok(Some(()))
        })
        .await
    }

    /// The same while something goes on that does not end by itself.
    async fn expect_during(&self, meanwhile: impl Future, wanted: &[&str]) -> Result<()> {
        tokio::select! {
            fired = self.expect(wanted) => fired,
            _ = meanwhile => bail!("what was to make {wanted:?} fire has ended"),
        }
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The same rules for whoever cannot wait: they fire once true, and look back for less long.
fn hurried(rules: &str) -> String {
    let lines = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with("for: "));
    let text: Vec<&str> = lines.collect();
    text.join("\n").replace("[5m]", "[20s]") + "\n"
}

#[tokio::test]
async fn each_alert_fires_when_its_fault_is_caused() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare_linked().await?;
    let [nobody, delivery, ordering] = free_ports()?;
    let nobody = format!("http://127.0.0.1:{nobody}");
    // The gateway reaches delivery by a way that can be cut.
    let delivery = format!("127.0.0.1:{delivery}");
    let to_delivery = Proxy::to(delivery.clone()).await?;
    shop.set_variables(&[("delivery_url", &format!("http://{}", to_delivery.address))])?;
    let listen = format!("delivery={delivery},ordering=127.0.0.1:{ordering}");
    let tight = [
        ["--service-listen", listen.as_str()],
        ["--otlp-endpoint", nobody.as_str()],
        ["--trace-ratio", "1"],
        ["--request-timeout", "3"],
        ["--requests-per-component", "4"],
        ["--postgres-connections", "2"],
    ];
    let mut tight: Vec<String> = tight.concat().into_iter().map(str::to_owned).collect();
    let files = Files::beside(&shop)?;
    tight.push(files.manifest());
    shop.start_host_with(&tight).await?;
    shop.start_relay(&[]).await?;
    let user = shop.anonymous()?.register().await?;
    let rose = user.rose().await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;
    let Some(prometheus) = Prometheus::watching(&shop).await? else {
        eprintln!("not checked, for there is no Prometheus on this machine: that the alerts fire");
        return Ok(());
    };
    let links = shop.links().context("no proxies")?;

    // Spans that nobody takes; a letter that dies, a row that is parked.
    shop.poison("payment_order_events").await?;
    shop.park().await?;
    let asked = keep_asking(&user, "/api/orders");
    prometheus
        .expect_during(asked, &["SpansLost", "DeadLetters", "OutboxRowsParked"])
        .await?;

    // A component's file that is none.
    files.put("catalog", b"no wasm")?;
    shop.ask_to_swap().await?;
    prometheus.expect(&["VersionRefused"]).await?;

    // A broker that is away.
    links.rabbitmq.behave(Mood::Cut);
    user.order(&rose, 1).await?.expect(201)?;
    prometheus.expect(&["OutboxUnattended", "OutboxStalled"]).await?;
    links.rabbitmq.behave(Mood::Well);

    // A service that cannot be reached.
    to_delivery.behave(Mood::Cut);
    let asked = keep_asking(&user, "/api/delivery/order/none");
    prometheus.expect_during(asked, &["CircuitOpen"]).await?;
    to_delivery.behave(Mood::Well);

    // A table that is locked, and more requests than may wait for it, past the gateway, which would soon spare the service.
    let blocker = shop.database().await?;
    blocker
        .batch_execute("begin; lock table ordering.orders in access exclusive mode")
        .await?;
    let past_gateway = user.at(&format!("http://127.0.0.1:{ordering}"));
    let asked = join_all((0..24).map(|_| keep_asking(&past_gateway, "/orders")));
    let wanted = [
        "ServerErrors",
        "SlowRequests",
        "InstancesLost",
        "RequestsRefused",
        "PostgresPoolFull",
    ];
    let fired = prometheus.expect_during(asked, &wanted).await;
    blocker.batch_execute("rollback").await?;
    fired?;

    // A service that is gone while there is something for it.
    shop.await_healthy().await?;
    let host = shop.take_host().context("no host")?;
    shop_tests::shop::signal(&host, "KILL").await?;
    drop(host);
    let again = "update ordering.outbox_messages set processed_at = null, parked_at = null, due_at = now()
        where id = (select max(id) from ordering.outbox_messages where event_type = 'OrderCreated')";
    shop.database().await?.execute(again, &[]).await?;
    prometheus.expect(&["ProcessDown", "QueuePaused"]).await?;

    let all = rules()?.len();
    assert_eq!(
        all,
        3 + 1 + 2 + 1 + wanted.len() + 2,
        "an alert was added whose fault nobody causes here"
    );
    Ok(())
}

/// Asks again and again, whatever is answered.
async fn keep_asking(user: &Actor, path: &str) -> Infallible {
    let mut pause = tokio::time::interval(Duration::from_millis(200));
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        let _ = user.get(path).await;
    }
}
