//! The wire format: an `ExportTraceServiceRequest` of OTLP in its JSON form (opentelemetry-proto, docs/specification:
//! ids in hex, 64-bit numbers as strings, names in lowerCamelCase).

use crate::span::{Record, Value as Attribute};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A batch, by the services that its spans are of, all of them of one application: the namespace.
pub(crate) fn encode(namespace: &str, records: &[Record]) -> Vec<u8> {
    let mut services: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for record in records {
        services.entry(&record.service).or_default().push(span(record));
    }
    let resources: Vec<Value> = services
        .into_iter()
        .map(|(service, spans)| {
            json!({
                "resource": {"attributes": [
                    text("service.name", service),
                    text("service.namespace", namespace),
                ]},
                "scopeSpans": [{"scope": {"name": namespace}, "spans": spans}],
            })
        })
        .collect();
    json!({"resourceSpans": resources}).to_string().into_bytes()
}

fn span(record: &Record) -> Value {
    let trace_id = format!("{:032x}", record.context.trace);
    let mut span = json!({
        "traceId": trace_id,
        "spanId": id(record.context.span),
        "name": record.name,
        "kind": record.kind as i32,
        "startTimeUnixNano": nanos(record.started),
        "endTimeUnixNano": nanos(record.ended),
        "attributes": record.attributes.iter().map(attribute).collect::<Vec<_>>(),
    });
    if record.parent != 0 {
        span["parentSpanId"] = id(record.parent).into();
    }
    if !record.links.is_empty() {
        let link = |other: &crate::Context| json!({"traceId": other.trace_id(), "spanId": id(other.span)});
        span["links"] = record.links.iter().map(link).collect();
    }
    if let Some(failure) = &record.failure {
        span["status"] = json!({"code": 2, "message": failure});
    }
    span
}

fn attribute((name, value): &(&'static str, Attribute)) -> Value {
    match value {
        Attribute::Text(value) => text(name, value),
        Attribute::Number(value) => json!({"key": name, "value": {"intValue": value.to_string()}}),
    }
}

fn text(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

fn id(span: u64) -> String {
    format!("{span:016x}")
}

fn nanos(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Kind};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_batch_is_grouped_by_service_and_keeps_what_a_span_knows() {
        let context = Context::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let started = UNIX_EPOCH + Duration::from_nanos(1_500);
        let record = |service: &str, parent| Record {
            service: Arc::from(service),
            name: "POST /orders".into(),
            kind: Kind::Server,
            context,
            parent,
            started,
            ended: started + Duration::from_nanos(500),
            attributes: vec![("http.response.status_code", 201_u16.into())],
            links: vec![context],
            failure: Some("503".to_owned()),
        };
        let batch = [record("ordering", 0), record("payment", 7), record("ordering", 1)];
        let sent: Value = serde_json::from_slice(&encode("shop", &batch)).unwrap();
        let resources = sent["resourceSpans"].as_array().unwrap();
        assert_eq!(resources.len(), 2);
        assert_eq!(
            resources[0]["resource"]["attributes"][0]["value"]["stringValue"],
            "ordering"
        );
        assert_eq!(
            resources[1]["resource"]["attributes"][1],
            json!({"key": "service.namespace", "value": {"stringValue": "shop"}})
        );
        let spans = resources[0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 2);
        assert!(spans[0].get("parentSpanId").is_none());
        let expected = json!({
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
            "spanId": "00f067aa0ba902b7",
            "parentSpanId": "0000000000000001",
            "name": "POST /orders",
            "kind": 2,
            "startTimeUnixNano": "1500",
            "endTimeUnixNano": "2000",
            "attributes": [{"key": "http.response.status_code", "value": {"intValue": "201"}}],
            "links": [{"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7"}],
            "status": {"code": 2, "message": "503"},
        });
        assert_eq!(spans[1], expected);
    }
}
