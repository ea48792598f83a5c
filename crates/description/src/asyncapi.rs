//! The events in AsyncAPI 3.0: `docs/asyncapi.json`, made from the contracts and from the topology that carries them.
//! Tests alone: nothing serves it.

use crate::expect_file;
use contracts::{DescribedEvent, Event};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn topology() -> toml::Table {
    let text = std::fs::read_to_string(root().join("host-bridge/topology.toml")).unwrap();
    text.parse().unwrap()
}

fn text<'a>(table: &'a toml::Value, key: &str) -> &'a str {
    table[key].as_str().unwrap()
}

/// What a queue takes: each of its bindings is the routing key of an event.
fn taken(queue: &toml::Value) -> Vec<&'static DescribedEvent> {
    let bindings = queue["bindings"].as_array().unwrap();
    let event = |binding: &toml::Value| {
        let key = binding.as_str().unwrap();
        let event = Event::DESCRIBED.iter().find(|event| event.routing_key == key);
        event.unwrap_or_else(|| panic!("no event has the routing key {key}"))
    };
    bindings.iter().map(event).collect()
}

fn document() -> Value {
    let topology = topology();
    let exchange = topology["exchange"].as_str().unwrap();
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for event in Event::DESCRIBED {
        let channel = published(event, exchange);
        channels.insert(event.routing_key.to_owned(), channel);
        let operation = json!({
            "action": "send",
            "channel": {"$ref": format!("#/channels/{}", event.routing_key)},
            "summary": format!("{} tells {}.", event.source, event.event_type),
            "tags": [{"name": event.source}],
        });
        operations.insert(format!("{}.send.{}", event.source, event.event_type), operation);
    }
    for queue in topology["queue"].as_array().unwrap() {
        let (name, service) = (text(queue, "name"), text(queue, "service"));
        channels.insert(name.to_owned(), consumed(queue));
        let operation = json!({
            "action": "receive",
            "channel": {"$ref": format!("#/channels/{name}")},
            "summary": format!("{service} is handed what is in {name}."),
            "tags": [{"name": service}],
        });
        operations.insert(format!("{service}.receive.{name}"), operation);
    }
    let messages = Event::DESCRIBED
        .iter()
        .map(|event| (event.event_type.to_owned(), message(event)));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Flower shop: events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the services tell one another, through RabbitMQ. Each is a CloudEvent 1.0; a \
                consumer ignores members of its data that it does not know, and takes an event that comes again for \
                the same. See events.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {"broker": {
            "host": "localhost:5672", "protocol": "amqp", "protocolVersion": "0-9-1",
            "description": "RabbitMQ, reached by the host-bridge alone.",
        }},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages.collect::<Map<_, _>>(), "schemas": schemas()},
    })
}

/// The channel that an event is published to.
fn published(event: &DescribedEvent, exchange: &str) -> Value {
    json!({
        "address": event.routing_key,
        "description": format!("Reaches {}.", event.queues.join(", ")),
        "messages": reference_messages([event]),
        "bindings": {"amqp": {
            "is": "routingKey", "bindingVersion": "0.3.0",
            "exchange": {"name": exchange, "type": "topic", "durable": true, "autoDelete": false},
        }},
    })
}

/// The channel that a queue is.
fn consumed(queue: &toml::Value) -> Value {
    let name = text(queue, "name");
    json!({
        "address": name,
        "description": format!("A quorum queue that feeds {}.", text(queue, "service")),
        "messages": reference_messages(taken(queue)),
        "bindings": {"amqp": {
            "is": "queue", "bindingVersion": "0.3.0",
            "queue": {"name": name, "durable": true, "exclusive": false, "autoDelete": false},
        }},
    })
}

fn reference_messages<'a>(events: impl IntoIterator<Item = &'a DescribedEvent>) -> Map<String, Value> {
    let message = |event: &DescribedEvent| {
        let place = format!("#/components/messages/{}", event.event_type);
        (event.event_type.to_owned(), json!({"$ref": place}))
    };
    events.into_iter().map(message).collect()
}

fn message(event: &DescribedEvent) -> Value {
    json!({
        "name": event.event_type,
        "title": event.event_type,
        "contentType": "application/cloudevents+json",
        "payload": {"allOf": [
            {"$ref": "#/components/schemas/CloudEvent"},
            {"type": "object", "properties": {
                "type": {"const": event.event_type},
                "source": {"const": event.source},
                "subject": {"description": format!("The same as `data.{}`.", event.about)},
                "data": {"allOf": [
                    {"$ref": format!("#/components/schemas/{}", event.event_type)},
                    {
                        "type": "object", "required": ["schema_version"],
                        "properties": {"schema_version": {"const": event.schema_version}},
                    },
                ]},
            }},
        ]},
    })
}

fn schemas() -> Map<String, Value> {
    let schemas = Event::schemas().into_iter();
    let mut schemas: Map<String, Value> = schemas
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap()))
        .collect();
    schemas.insert("CloudEvent".to_owned(), json!({
        "type": "object",
        "description": "The envelope of every event (CloudEvents 1.0, JSON format).",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "format": "uuid", "description": "By which a consumer knows it again."},
            "source": {"type": "string", "description": "The service that tells it."},
            "type": {"type": "string"},
            "subject": {"type": "string", "format": "uuid", "description": "The aggregate, whose events keep their order."},
            "time": {"type": "string", "format": "date-time", "description": "When it happened."},
            "datacontenttype": {"const": "application/json"},
            "traceparent": {"type": "string", "description": "The trace that it belongs to (W3C Trace Context)."},
            "data": {"type": "object"},
        },
    }));
    schemas
}

#[test]
fn the_file_of_the_events_says_what_contracts_and_topology_say() {
    expect_file(&root().join("docs/asyncapi.json"), &document());
}

#[test]
fn every_event_reaches_the_queues_of_its_contract_and_no_other() {
    let topology = topology();
    let carried: BTreeSet<(&str, &str)> = topology["queue"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|queue| {
            taken(queue)
                .into_iter()
                .map(|event| (event.event_type, text(queue, "name")))
        })
        .collect();
    let promised = Event::DESCRIBED.iter();
    let promised: BTreeSet<(&str, &str)> = promised
        .flat_map(|event| event.queues.iter().map(|queue| (event.event_type, *queue)))
        .collect();
    assert_eq!(carried, promised);
}

#[test]
fn an_event_has_the_members_that_are_described() {
    use contracts::{FlowerChanged, FlowerId, Money};
    let event = Event::from(FlowerChanged {
        flower_id: FlowerId::new(),
        version: 1,
        name: "Rose".to_owned(),
        price: Money::rub(15_000).unwrap(),
        deleted: false,
    });
    let data = event.to_data().unwrap();
    let document = document();
    let described = document["components"]["schemas"]["FlowerChanged"]["properties"]
        .as_object()
        .unwrap();
    let described: BTreeSet<&str> = described
        .keys()
        .map(String::as_str)
        .chain(["schema_version"])
        .collect();
    let written: BTreeSet<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(described, written);
}

#[test]
fn all_that_the_document_refers_to_is_in_it() {
    fn places(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| places(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| places(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    places(&document, &mut found);
    assert!(found.len() > Event::DESCRIBED.len());
    for place in found {
        assert!(
            document.pointer(place.trim_start_matches('#')).is_some(),
            "{place}"
        );
    }
}
