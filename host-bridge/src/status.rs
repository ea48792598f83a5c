//! `status`: the shop at a glance on a terminal, for people, or as JSON for programs. Ends with 1 if something is amiss.

use crate::cli::Status;
use crate::dead_letters::tools;
use crate::print;
use crate::versions::{self, ByComponent, Versions};
use anyhow::{Context, bail};
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use relay::operator::{OutboxState, Overview};
use serde::Serialize;
use serde_json::Value;
use std::io::IsTerminal;
use std::time::Duration;

/// How long the gateway may take to ask every service.
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// So much of a digest tells versions apart.
const SHORT_DIGEST: usize = 12;
/// An outbox whose oldest row has been due for longer is amiss.
const LATE_SECONDS: f64 = 30.0;

/// Everything that is shown.
#[derive(Serialize)]
struct Report {
    version: &'static str,
    /// What is wrong, a line each; empty if nothing is.
    amiss: Vec<String>,
    /// What the gateway's `/health` says; null if it does not answer, or is not to be asked.
    health: Value,
    /// Which versions of the components the embedded hosts serve; empty if there is none that answers.
    versions: ByComponent,
    #[serde(flatten)]
    overview: Overview,
}

pub(crate) async fn status(args: Status) -> anyhow::Result<()> {
    let asks_broker = args.amqp_url.is_some();
    let tools = tools(args.outboxes, args.amqp_url)?;
    // Whoever is away, the others are asked.
    let (health, versions, overview) = tokio::join!(
        health(&args.shop_url),
        join_all(args.metrics_url.iter().map(|url| versions(url))),
        Overview::of(tools)
    );
    let overview = overview?;
    let amiss = amiss(&overview, health.as_ref(), asks_broker);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        amiss,
        health: health.and_then(Result::ok).unwrap_or_default(),
        versions: versions::of_hosts(versions),
        overview,
    };
    if args.json {
        print::json(&report)?;
    } else {
        show(&report, std::io::stdout().is_terminal());
    }
    match report.amiss.len() {
        0 => Ok(()),
        1 => bail!("one thing is amiss"),
        count => bail!("{count} things are amiss"),
    }
}

/// `None` if it is not to be asked.
async fn health(shop: &str) -> Option<anyhow::Result<Value>> {
    let asked = async {
        let body = get(shop, "/health").await.context("the shop does not answer")?;
        serde_json::from_slice(&body).context("its answer is no health")
    };
    match shop.is_empty() {
        true => None,
        false => Some(asked.await),
    }
}

/// What the host serves whose metrics are here, with where that is. Spin has no such metrics, so that there are none is
/// nothing amiss.
async fn versions(url: &str) -> (String, ByComponent) {
    let metrics = get(url, "").await.unwrap_or_default();
    let host = url.split('/').nth(2).unwrap_or(url);
    (
        host.to_owned(),
        versions::read(&String::from_utf8_lossy(&metrics)),
    )
}

/// The body of an answer, whatever its status.
async fn get(base: &str, path: &str) -> anyhow::Result<Bytes> {
    let uri = format!("{}{path}", base.trim_end_matches('/')).parse()?;
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(HEALTH_PATIENCE));
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let answered = async {
        let answer = client.get(uri).await?;
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("its answer broke off: {error}"))?;
        Ok(body.to_bytes())
    };
    let answered = tokio::time::timeout(HEALTH_PATIENCE, answered);
    answered
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")))
}

/// What is wrong, a line each.
fn amiss(overview: &Overview, health: Option<&anyhow::Result<Value>>, asks_broker: bool) -> Vec<String> {
    let mut amiss = Vec::new();
    match health {
        Some(Err(error)) => amiss.push(format!("shop: {error:#}")),
        Some(Ok(health)) if health["status"] != "healthy" => {
            let checks = health["checks"].as_object().into_iter().flatten();
            let unwell = checks.filter(|(_, check)| *check != "ok");
            let named: Vec<String> = unwell
                .map(|(name, check)| format!("{name} {}", word(check)))
                .collect();
            amiss.push(format!(
                "shop: {} ({})",
                word(&health["status"]),
                named.join(", ")
            ));
        }
        Some(Ok(_)) | None => {}
    }
    if let Some(trouble) = &overview.broker_trouble {
        amiss.push(format!("RabbitMQ: {trouble}"));
    }
    for OutboxState { service, waiting } in &overview.outboxes {
        match waiting {
            Err(trouble) => amiss.push(format!("outbox of {service}: {trouble}")),
            Ok(waiting) => {
                if waiting.oldest_seconds > LATE_SECONDS {
                    let since = waiting.oldest_seconds;
                    amiss.push(format!("outbox of {service}: waits for {since:.0} s"));
                }
                if waiting.parked > 0 {
                    amiss.push(format!("outbox of {service}: {} parked", waiting.parked));
                }
            }
        }
    }
    for (service, trouble) in &overview.gauges_trouble {
        amiss.push(format!("gauges of {service}: {trouble}"));
    }
    if let Some(trouble) = &overview.letters_trouble {
        amiss.push(format!("dead letters: {trouble}"));
    }
    for queue in &overview.queues {
        if let Some(count) = queue.dead_letters.filter(|count| *count > 0) {
            amiss.push(format!("{}: {count} dead letters", queue.queue));
        }
        if asks_broker && overview.broker_trouble.is_none() && queue.consumers.unwrap_or_default() == 0 {
            amiss.push(format!("{}: nobody consumes it", queue.queue));
        }
    }
    amiss
}

/// A text of JSON, or what stands for it.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => print::short(text, 40),
        Value::Null => "-".to_owned(),
        other => print::short(&other.to_string(), 40),
    }
}

fn show(report: &Report, colours: bool) {
    let paint = |text: &str, is_well: bool| match (colours, is_well) {
        (false, _) => text.to_owned(),
        (true, true) => format!("\u{1b}[32m{text}\u{1b}[0m"),
        (true, false) => format!("\u{1b}[31m{text}\u{1b}[0m"),
    };
    let summary = match report.amiss.is_empty() {
        true => paint("all is well", true),
        false => paint("something is amiss", false),
    };
    print::line(&format!("{summary}   host-bridge {}", report.version));
    for line in &report.amiss {
        print::line(&format!("  {}", paint(&print::short(line, 160), false)));
    }
    print::line("");
    let mut services: Vec<[String; 2]> = Vec::new();
    for part in ["checks", "breakers"] {
        let entries = report.health[part].as_object().into_iter().flatten();
        services.extend(entries.map(|(name, state)| {
            let name = if part == "checks" {
                name.clone()
            } else {
                format!("{name} (breaker)")
            };
            [print::short(&name, 40), word(state)]
        }));
    }
    if !services.is_empty() {
        print::table(["SERVICE", "STATE"], &services);
        print::line("");
    }
    if !report.versions.is_empty() {
        let versions: Vec<[String; 5]> = report.versions.iter().map(version).collect();
        print::table(["COMPONENT", "VERSION", "AGE", "SWAPS", "LAST SWAP"], &versions);
        print::line("");
    }
    let unknown = || "-".to_owned();
    let outboxes = report.overview.outboxes.iter().map(|outbox| {
        let service = outbox.service.clone();
        match &outbox.waiting {
            Ok(waiting) => [
                service,
                waiting.pending.to_string(),
                format!("{:.0}s", waiting.oldest_seconds),
                waiting.parked.to_string(),
            ],
            Err(_) => [service, unknown(), unknown(), unknown()],
        }
    });
    print::table(
        ["OUTBOX", "WAITING", "OLDEST", "PARKED"],
        &outboxes.collect::<Vec<_>>(),
    );
    print::line("");
    let number = |number: Option<i64>| number.map_or_else(unknown, |number| number.to_string());
    let queues = report.overview.queues.iter().map(|queue| {
        [
            queue.queue.clone(),
            number(queue.messages.map(i64::from)),
            number(queue.consumers.map(i64::from)),
            number(queue.dead_letters),
        ]
    });
    print::table(
        ["QUEUE", "MESSAGES", "CONSUMERS", "DEAD LETTERS"],
        &queues.collect::<Vec<_>>(),
    );
    if !report.overview.gauges.is_empty() {
        print::line("");
    }
    let gauges = report.overview.gauges.iter().map(|gauge| {
        let labels: Vec<&str> = gauge.labels.values().map(String::as_str).collect();
        [
            gauge.name.clone(),
            print::short(&labels.join(" "), 60),
            gauge.value.to_string(),
        ]
    });
    let gauges: Vec<[String; 3]> = gauges.collect();
    if !gauges.is_empty() {
        print::table(["GAUGE", "OF", "VALUE"], &gauges);
    }
}

/// A row: which versions serve, and what became of swaps.
fn version((component, versions): (&String, &Versions)) -> [String; 5] {
    let serving = versions.serving.iter().map(|version| {
        let digest: String = version.sha256.chars().take(SHORT_DIGEST).collect();
        let number = version.version.iter().map(String::as_str);
        let mut words: Vec<&str> = number.chain([digest.as_str()]).collect();
        let share = format!("{:.0}%", version.share * 100.0);
        if version.share < 1.0 {
            words.push(&share);
        }
        words.join(" ")
    });
    let words = |outcome: &str| outcome.replace('_', " ");
    let swaps = versions.swaps.iter();
    let swaps = swaps.map(|(outcome, count)| format!("{count} {}", words(outcome)));
    let last = versions.last_swap.as_ref();
    let last = last.map(|last| format!("{} {} ago", words(&last.outcome), print::age(last.age_seconds)));
    [
        print::short(component, 40),
        serving.collect::<Vec<_>>().join(", "),
        print::age(versions.age_seconds),
        swaps.collect::<Vec<_>>().join(", "),
        last.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::operator::{QueueState, Waiting};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn overview(oldest_seconds: f64, parked: i64, dead_letters: i64, consumers: Option<u32>) -> Overview {
        Overview {
            outboxes: vec![OutboxState {
                service: "ordering".to_owned(),
                waiting: Ok(Waiting {
                    pending: 1,
                    oldest_seconds,
                    parked,
                }),
            }],
            letters_trouble: None,
            broker_trouble: None,
            queues: vec![QueueState {
                queue: "payment_order_events".to_owned(),
                messages: Some(0),
                consumers,
                dead_letters: Some(dead_letters),
            }],
            gauges: Vec::new(),
            gauges_trouble: BTreeMap::new(),
        }
    }

    #[test]
    fn a_shop_in_which_everything_flows_is_well() {
        let health = Ok(json!({"status": "healthy", "checks": {"auth": "ok"}}));
        assert_eq!(
            amiss(&overview(2.0, 0, 0, Some(1)), Some(&health), true),
            Vec::<String>::new()
        );
        let nothing = amiss(&overview(2.0, 0, 0, Some(1)), None, true);
        assert_eq!(nothing, Vec::<String>::new(), "the shop was not asked");
        let nothing = amiss(&overview(2.0, 0, 0, None), Some(&health), false);
        assert_eq!(nothing, Vec::<String>::new(), "the broker was not asked");
    }

    #[test]
    fn whatever_waits_or_is_unwell_is_named() {
        let health = Ok(json!({"status": "degraded", "checks": {"auth": "ok", "payment": "down"}}));
        let amiss = amiss(&overview(31.0, 2, 3, None), Some(&health), true);
        assert_eq!(
            amiss,
            [
                "shop: degraded (payment down)",
                "outbox of ordering: waits for 31 s",
                "outbox of ordering: 2 parked",
                "payment_order_events: 3 dead letters",
                "payment_order_events: nobody consumes it",
            ]
        );
    }

    #[test]
    fn a_shop_that_does_not_answer_and_a_broker_that_does_not_are_amiss() {
        let mut overview = overview(0.0, 0, 0, None);
        overview.broker_trouble = Some("connection refused".to_owned());
        let amiss = amiss(&overview, Some(&Err(anyhow::anyhow!("no answer in time"))), true);
        assert_eq!(amiss, ["shop: no answer in time", "RabbitMQ: connection refused"]);
    }

    #[test]
    fn what_could_not_be_looked_at_is_amiss() {
        let mut overview = overview(0.0, 0, 0, Some(1));
        overview.gauges_trouble = BTreeMap::from([("ordering".to_owned(), "too slow".to_owned())]);
        overview.outboxes.push(OutboxState {
            service: "payment".to_owned(),
            waiting: Err("away".to_owned()),
        });
        overview.letters_trouble = Some("away, too".to_owned());
        overview.queues[0].dead_letters = None;
        let amiss = amiss(&overview, Some(&Ok(json!({"status": "healthy"}))), true);
        assert_eq!(
            amiss,
            [
                "outbox of payment: away",
                "gauges of ordering: too slow",
                "dead letters: away, too"
            ]
        );
    }
}
