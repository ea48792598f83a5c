//! One trace per order: what a collector gets of it, and what a client can make of that.

use crate::alone;
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::collector::{CLIENT, CONSUMER, PRODUCER, SERVER, Span};
use shop_tests::shop::free_port;
use shop_tests::{Actor, Collector, Shop, eventually};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENTS_SPAN: &str = "00f067aa0ba902b7";

/// A shop with a host and a relay that both record part of the traces.
async fn traced(endpoint: &str, part: &str, arguments: &[String]) -> Result<Shop> {
    let mut shop = Shop::prepare().await?;
    let tracing = ["--otlp-endpoint", endpoint, "--trace-ratio", part].map(str::to_owned);
    shop.start_host_with(&[&tracing[..], arguments].concat()).await?;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("SHOP_TRACE_RATIO", part),
    ];
    shop.start_relay(&environment).await?;
    Ok(shop)
}

/// Orders a rose with these headers, once ordering knows it and nothing else is under way, so that no event shares a
/// batch with one of another trace; gives the order's id.
async fn order_within(user: &Actor, headers: &[(&str, &str)]) -> Result<String> {
    let rose = user.rose().await?;
    let earlier = user.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    user.await_status(&earlier, "payment_failed").await?;
    eventually("the earlier order has its stock", PATIENCE, async || {
        let history = user
            .get(&format!("/api/orders/{earlier}/history"))
            .await?
            .expect(200)?;
        Ok((history["notes"] != json!([])).then_some(()))
    })
    .await?;
    let body = json!({
        "items": [{"flower_id": rose, "quantity": 1}],
        "delivery_address": "1 Rose Street",
        "payment_method": "pm_card_visa",
    });
    let mut request = user.request(Method::POST, "/api/orders").json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = user.send(request).await?;
    let order = answer.expect(201)?;
    for name in answer.headers.keys() {
        ensure!(!name.as_str().starts_with("x-shop-"), "a client gets {name}");
    }
    Ok(order["id"].as_str().context("no id")?.to_owned())
}

/// What one span of the trace must be like.
struct Wanted(&'static str, i32, &'static str);

impl Wanted {
    fn is(&self, span: &Span) -> bool {
        let Self(service, kind, name) = self;
        span.service == *service && span.kind == *kind && span.name.contains(name)
    }
}

#[tokio::test]
async fn an_order_is_one_trace_from_the_clients_request_to_the_shipment() -> Result<()> {
    let _alone = alone().await;
    let collector = Collector::start().await?;
    let shop = traced(&collector.endpoint, "0", &[]).await?;
    let user = shop.anonymous()?.register().await?;
    let traceparent = format!("00-{TRACE_ID}-{CLIENTS_SPAN}-01");
    let order_id = order_within(&user, &[("traceparent", &traceparent)]).await?;
    user.await_status(&order_id, "shipping").await?;

    let wanted = [
        Wanted("gateway", SERVER, "POST /orders"),
        Wanted("gateway", CLIENT, "POST"),
        Wanted("ordering", SERVER, "POST /orders"),
        Wanted("ordering", CLIENT, "WITH"),
        Wanted("host-bridge", PRODUCER, ":order.created"),
        Wanted("host-bridge", CONSUMER, "payment_order_events"),
        Wanted("payment", SERVER, "POST /internal/payment/events"),
        Wanted("payment", CLIENT, "WITH"),
        Wanted("host-bridge", PRODUCER, ":payment.completed"),
        Wanted("host-bridge", CONSUMER, "catalog_order_events"),
        Wanted("host-bridge", PRODUCER, ":stock.reserved"),
        Wanted("host-bridge", CONSUMER, "ordering_payment_events"),
        Wanted("ordering", SERVER, "POST /internal/ordering/events"),
        Wanted("host-bridge", PRODUCER, ":order.paid"),
        Wanted("host-bridge", CONSUMER, "delivery_order_events"),
        Wanted("delivery", SERVER, "POST /internal/delivery/events"),
        Wanted("host-bridge", PRODUCER, ":shipment.created"),
        Wanted("host-bridge", CONSUMER, "ordering_delivery_events"),
    ];
    let spans = eventually("the whole trace has arrived", PATIENCE, async || {
        let spans = collector.trace(TRACE_ID)?;
        let missed: Vec<&str> = wanted
            .iter()
            .filter(|wanted| !spans.iter().any(|span| wanted.is(span)))
            .map(|Wanted(_, _, name)| *name)
            .collect();
        ensure!(missed.is_empty(), "{missed:?} of {:?}", names(&spans));
        // It hangs together: what is no span of ours is the client's. A parent may come after its child.
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
        assert_eq!(ids.len(), spans.len(), "a span came twice");
        for span in &spans {
            let parent = span.parent_id.as_str();
            ensure!(
                ids.contains(parent) || parent == CLIENTS_SPAN,
                "{span:?} hangs nowhere"
            );
        }
        Ok(Some(spans))
    })
    .await?;

    let find = |wanted: Wanted| spans.iter().find(|span| wanted.is(span)).context("it is there");
    let (gateway, call) = (
        find(Wanted("gateway", SERVER, "POST"))?,
        find(Wanted("gateway", CLIENT, "POST"))?,
    );
    assert_eq!(gateway.parent_id, CLIENTS_SPAN);
    assert_eq!(call.parent_id, gateway.span_id);
    let ordering = find(Wanted("ordering", SERVER, "POST /orders"))?;
    assert_eq!(ordering.parent_id, call.span_id);
    assert_eq!(ordering.attributes["http.route"], "/orders");
    assert_eq!(ordering.attributes["http.response.status_code"], "201");
    let published = find(Wanted("host-bridge", PRODUCER, ":order.created"))?;
    assert_eq!(published.parent_id, ordering.span_id);
    assert_eq!(published.attributes["messaging.system"], "rabbitmq");
    let payment = find(Wanted("payment", SERVER, "POST /internal/payment/events"))?;
    let completed = find(Wanted("host-bridge", PRODUCER, ":payment.completed"))?;
    assert_eq!(completed.parent_id, payment.span_id);
    // Calls to Postgres hang below the request that they were made for.
    let queries = spans
        .iter()
        .filter(|span| span.attributes.contains_key("db.system.name"));
    let mut statements = 0;
    for query in queries {
        let parent = spans.iter().find(|span| span.span_id == query.parent_id);
        let parent = parent.context("a query without a request")?;
        assert_eq!((&parent.service, parent.kind), (&query.service, SERVER));
        statements += usize::from(query.attributes.contains_key("db.query.text"));
    }
    ensure!(statements >= 5, "only {statements} statements");

    // The history names the same trace, and the rest of the shop was recorded as rarely as asked.
    let history = user
        .get(&format!("/api/orders/{order_id}/history"))
        .await?
        .expect(200)?;
    let items = history["items"].as_array().context("no items")?;
    ensure!(items.iter().all(|item| item["trace_id"] == TRACE_ID), "{history}");
    // So was a batch that another event shared with one of the trace: it names both.
    let others = collector.spans()?;
    let is_linked = |span: &Span| span.links.iter().any(|(trace_id, _)| trace_id == TRACE_ID);
    let shared: BTreeSet<&str> = others
        .iter()
        .filter(|span| is_linked(span))
        .map(|span| span.trace_id.as_str())
        .collect();
    let foreign: Vec<Span> = others
        .iter()
        .filter(|span| span.trace_id != TRACE_ID && !shared.contains(span.trace_id.as_str()))
        .cloned()
        .collect();
    ensure!(
        foreign.is_empty(),
        "at a ratio of 0 only the client's own trace is recorded, and not {:?}",
        names(&foreign)
    );
    Ok(())
}

fn names(spans: &[Span]) -> Vec<String> {
    let name = |span: &Span| format!("{}: {}", span.service, span.name);
    spans.iter().map(name).collect()
}

#[tokio::test]
async fn a_client_has_no_say_in_the_shops_private_trace_header() -> Result<()> {
    let _alone = alone().await;
    let collector = Collector::start().await?;
    let own = format!("127.0.0.1:{}", free_port()?);
    let listen = ["--service-listen".to_owned(), format!("ordering={own}")];
    let shop = traced(&collector.endpoint, "0", &listen).await?;
    let user = shop.anonymous()?.register().await?;
    let traceparent = format!("00-{TRACE_ID}-{CLIENTS_SPAN}-01");
    let foreign_id = "66666666666666666666666666666666";
    let foreign = format!("00-{foreign_id}-6666666666666666-01");
    let headers = [
        ("x-shop-traceparent", foreign.as_str()),
        ("traceparent", traceparent.as_str()),
        ("spin-client-addr", "0.0.0.0:0"),
        ("x-shop-route", "/made/up"),
    ];
    let order_id = order_within(&user, &headers).await?;
    let history = user
        .get(&format!("/api/orders/{order_id}/history"))
        .await?
        .expect(200)?;
    assert_eq!(history["items"][0]["trace_id"], TRACE_ID);

    // Nor at the service's own port, past the gateway.
    let mut request = user.at(&format!("http://{own}")).request(Method::GET, "/orders");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = user.send(request).await?;
    answer.expect(200)?;
    ensure!(
        answer
            .headers
            .keys()
            .all(|name| !name.as_str().starts_with("x-shop-"))
    );
    let direct = |span: &Span| span.service == "ordering" && span.name == "GET /orders";
    eventually("both requests are recorded", PATIENCE, async || {
        let spans = collector.trace(TRACE_ID)?;
        let both = spans.iter().any(direct) && spans.iter().any(|span| span.service == "gateway");
        Ok(both.then_some(()))
    })
    .await?;
    let foreign = collector.trace(foreign_id)?;
    ensure!(foreign.is_empty(), "{:?}", names(&foreign));
    let spans = collector.spans()?;
    let direct = spans.iter().find(|span| direct(span)).context("it is there")?;
    assert_eq!(direct.parent_id, CLIENTS_SPAN);
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_away_costs_its_spans_and_a_line() -> Result<()> {
    let _alone = alone().await;
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    let start = Instant::now();
    let shop = traced(&nobody, "1", &[]).await?;
    let user = shop.anonymous()?.register().await?;
    let rose = user.rose().await?;
    for _ in 0..20 {
        let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
        user.await_status(&order_id, "shipping").await?;
    }
    let metrics = shop.metrics();
    for (address, log) in metrics.iter().zip(["host", "relay-0"]) {
        let lost = async || {
            let text = reqwest::get(format!("http://{address}/metrics"))
                .await?
                .text()
                .await?;
            let line = text.lines().find(|line| line.starts_with("spans_dropped_total"));
            let lost: f64 = line
                .and_then(|line| line.split(' ').next_back())
                .context("no count")?
                .parse()?;
            Ok((lost > 100.0).then_some(()))
        };
        eventually("spans are counted as lost", PATIENCE, lost).await?;
        let complaints = shop
            .whole_log(log)?
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["message"] == "the collector takes no spans; they are dropped")
            .count();
        let minutes = start.elapsed().as_secs() / 60;
        ensure!(
            complaints >= 1 && complaints as u64 <= 1 + minutes,
            "{complaints} lines, and {minutes} minutes are over"
        );
    }
    Ok(())
}
