//! What the bridge knows of the application that it serves: the file `topology.toml`, read and checked.
//! Declaring it at the broker is `broker`'s.

use serde::Deserialize;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

/// The schema of the bridge itself, and the source of the events that it tells.
pub const BRIDGE: &str = "bridge";

/// Exchanges, queues, which service each queue feeds, and whose outbox to read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The topic exchange that every event is published to.
    pub exchange: String,
    /// The name of the exchange, and of its queue, that dead letters go to.
    pub dead_letters: String,
    /// Routing keys that no queue needs to take; every other message is published with `mandatory`.
    #[serde(default)]
    pub unconsumed: Vec<String>,
    /// Services with a table `outbox_messages` in the schema of their name.
    #[serde(default)]
    pub outboxes: Vec<String>,
    /// The field of an event's data whose value, a UUID, says what the event is about. Where an event that has it
    /// becomes a dead letter, the bridge tells of it by an event of its own, about the same thing.
    #[serde(default)]
    pub correlate_by: Option<String>,
    #[serde(default, rename = "queue")]
    pub queues: Vec<Queue>,
}

/// A queue and the one service that it feeds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub name: String,
    pub service: String,
    /// Topic patterns: words separated by dots, `*` for one word, `#` for any number of them.
    pub bindings: Vec<String>,
}

/// Why a topology is refused. One line, for an operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TopologyError(String);

impl Topology {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or [`Topology::parse`] refuses what is in it; the message names the file.
    pub fn load(path: &Path) -> Result<Self, TopologyError> {
        let named = |reason: String| TopologyError(format!("topology {}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        Self::parse(&text).map_err(|TopologyError(reason)| named(reason))
    }

    /// Reads a topology from TOML and checks it.
    ///
    /// # Errors
    /// If it is not TOML, has unknown or missing keys, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, TopologyError> {
        let topology: Self = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            TopologyError(format!("line {line}: {}", error.message().replace('\n', " ")))
        })?;
        topology.check().map_err(TopologyError)?;
        Ok(topology)
    }

    /// Whether a message with this routing key may reach no queue at all.
    #[must_use]
    pub fn is_unconsumed(&self, routing_key: &str) -> bool {
        self.unconsumed.iter().any(|key| key == routing_key)
    }

    /// Every service that has an outbox or is fed by a queue, in alphabetical order.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        let fed = self.queues.iter().map(|queue| queue.service.as_str());
        self.outboxes.iter().map(String::as_str).chain(fed).collect()
    }

    /// The service that a queue feeds; `None` if the topology does not have the queue.
    #[must_use]
    pub fn service_of(&self, queue: &str) -> Option<&str> {
        let queue = self.queues.iter().find(|known| known.name == queue)?;
        Some(&queue.service)
    }

    fn check(&self) -> Result<(), String> {
        check_name("exchange", &self.exchange)?;
        check_name("dead_letters", &self.dead_letters)?;
        if self.exchange == self.dead_letters {
            return Err(format!("exchange and dead_letters are both {:?}", self.exchange));
        }
        check_unique("outboxes", self.outboxes.iter())?;
        for service in self.services() {
            check_service(service)?;
        }
        if self.correlate_by.is_some() && !self.outboxes.iter().any(|outbox| outbox == BRIDGE) {
            return Err(format!(
                "with correlate_by the bridge tells events, yet {BRIDGE:?} is not among the outboxes"
            ));
        }
        check_unique("queue names", self.queues.iter().map(|queue| &queue.name))?;
        for queue in &self.queues {
            self.check_queue(queue)?;
        }
        check_unique("unconsumed", self.unconsumed.iter())?;
        self.unconsumed
            .iter()
            .try_for_each(|key| self.check_unconsumed(key))
    }

    fn check_queue(&self, queue: &Queue) -> Result<(), String> {
        check_name("a queue's name", &queue.name)?;
        if queue.name == self.dead_letters {
            return Err(format!(
                "queue {:?} has the name of the dead letters' own",
                queue.name
            ));
        }
        if queue.bindings.is_empty() {
            return Err(format!("queue {:?} has no bindings", queue.name));
        }
        check_unique(
            &format!("bindings of queue {:?}", queue.name),
            queue.bindings.iter(),
        )?;
        queue.bindings.iter().try_for_each(|pattern| {
            check_pattern(pattern).map_err(|why| format!("queue {:?}: {why}", queue.name))
        })
    }

    fn check_unconsumed(&self, key: &str) -> Result<(), String> {
        check_pattern(key)?;
        if key.split('.').any(|word| word == "*" || word == "#") {
            return Err(format!("unconsumed: {key:?} is a pattern, not a routing key"));
        }
        let taker = self
            .queues
            .iter()
            .find(|queue| queue.bindings.iter().any(|pattern| matches(pattern, key)));
        match taker {
            Some(queue) => Err(format!(
                "{key:?} is unconsumed, yet queue {:?} takes it",
                queue.name
            )),
            None => Ok(()),
        }
    }
}

/// Whether a topic pattern takes a routing key, as the broker decides it.
#[must_use]
pub fn matches(pattern: &str, routing_key: &str) -> bool {
    fn rest(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", later)), _) => (0..=key.len()).any(|skipped| rest(later, &key[skipped..])),
            (Some((&"*", later)), Some((_, following))) => rest(later, following),
            (Some((word, later)), Some((first, following))) => word == first && rest(later, following),
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.split('.').collect();
    let key: Vec<&str> = routing_key.split('.').collect();
    rest(&pattern, &key)
}

/// AMQP names are short strings; those that begin with `amq.` are the broker's.
fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 255 || name.starts_with("amq.") || name.chars().any(char::is_control) {
        return Err(format!("{what} is no usable name: {name:?}"));
    }
    Ok(())
}

/// A service's name is also a schema's and part of a login's and of a path.
fn check_service(name: &str) -> Result<(), String> {
    let begins_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let holds = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    if !begins_well || !name.chars().all(holds) || name.len() > 48 {
        return Err(format!(
            "a service's name is a-z, 0-9 and _, at most 48 of them, not {name:?}"
        ));
    }
    Ok(())
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() || pattern.len() > 255 || pattern.split('.').any(str::is_empty) {
        return Err(format!("{pattern:?} is no routing key"));
    }
    Ok(())
}

fn check_unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("{what}: {name:?} is there twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"
        exchange = "shop"
        dead_letters = "shop.dead"
        unconsumed = ["order.completed"]
        outboxes = ["ordering", "payment"]

        [[queue]]
        name = "payment_order_events"
        service = "payment"
        bindings = ["order.created", "self.payment.#"]
    "#;

    fn refusal(text: &str) -> String {
        let message = Topology::parse(text).unwrap_err().to_string();
        assert!(!message.contains('\n'), "one line: {message}");
        message
    }

    #[test]
    fn the_services_are_those_with_an_outbox_and_those_that_a_queue_feeds() {
        let topology = Topology::parse(&GOOD.replace("\"ordering\", ", "")).unwrap();
        assert_eq!(topology.services().into_iter().collect::<Vec<_>>(), ["payment"]);
        assert!(topology.is_unconsumed("order.completed"));
        assert!(!topology.is_unconsumed("order.created"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let message = refusal(&GOOD.replace("bindings", "bindngs"));
        assert!(
            message.contains("line 10") && message.contains("bindngs"),
            "{message}"
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let twice = format!("{GOOD}\n{}", &GOOD[GOOD.find("[[queue]]").unwrap()..]);
        for (text, expected) in [
            (twice, "twice"),
            (GOOD.replace("shop.dead", "shop"), "both"),
            (
                GOOD.replace("[\"order.created\", \"self.payment.#\"]", "[]"),
                "no bindings",
            ),
            (
                GOOD.replace("\"order.created\"", "\"order..created\""),
                "no routing key",
            ),
            (GOOD.replace("\"payment\"", "\"Pay ment\""), "service's name"),
            (GOOD.replace("order.completed", "order.*"), "pattern"),
            (GOOD.replace("order.completed", "self.payment.due"), "takes it"),
            (GOOD.replace("payment_order_events", "amq.queue"), "usable"),
            (
                format!("correlate_by = \"order_id\"\n{GOOD}"),
                "among the outboxes",
            ),
        ] {
            let message = refusal(&text);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_pattern_takes_what_the_broker_would_route_to_it() {
        assert!(matches("order.created", "order.created"));
        assert!(matches("order.*", "order.created"));
        assert!(!matches("order.*", "order.created.late"));
        assert!(matches("self.payment.#", "self.payment"));
        assert!(matches("self.payment.#", "self.payment.charge.lookup"));
        assert!(matches("#", "anything.at.all"));
        assert!(!matches("order.created", "order"));
    }

    proptest! {
        #[test]
        fn no_topology_does_harm_and_what_is_wrong_is_told_in_one_line(
            text in prop_oneof![
                ".{0,200}",
                ("[a-z_.\\[\\]\"={} \n]{0,30}", any::<proptest::sample::Index>()).prop_map(|(garbage, place)| {
                    let mut text = include_str!("../../../host-bridge/topology.toml").to_owned();
                    let mut place = place.index(text.len());
                    while !text.is_char_boundary(place) {
                        place -= 1;
                    }
                    text.insert_str(place, &garbage);
                    text
                }),
            ]
        ) {
            if let Err(error) = Topology::parse(&text) {
                prop_assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
}
