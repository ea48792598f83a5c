//! The shop at a glance: what waits where, and what services say of themselves. Whoever cannot be asked hides nothing of
//! the others.

use super::{OperatorError, Tools, broker, postgres};
use crate::broker::{Broker, Unreachable};
use crate::database::{DatabaseError, within};
use crate::lookout::{Gauge, Waiting, connect, gauges};
use crash_points::Point;
use futures::future::join_all;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_postgres::Config;

/// What waits, and where.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    pub outboxes: Vec<OutboxState>,
    /// Why the bridge's own database could not be asked for dead letters; `None` if it was.
    pub letters_trouble: Option<String>,
    /// Why RabbitMQ could not be asked; `None` if it was, or if it is not said where it is.
    pub broker_trouble: Option<String>,
    pub queues: Vec<QueueState>,
    pub gauges: Vec<Gauge>,
    /// Why a service could not be asked for its gauges, though it was for its outbox; by the service.
    pub gauges_trouble: BTreeMap<String, String>,
}

/// One service's outbox.
#[derive(Clone, Debug, Serialize)]
pub struct OutboxState {
    pub service: String,
    /// What waits in it, or why that cannot be seen: as JSON, `trouble` in place of the numbers.
    #[serde(flatten, serialize_with = "numbers_or_trouble")]
    pub waiting: Result<Waiting, String>,
}

/// One queue, as far as it could be seen.
#[derive(Clone, Debug, Serialize)]
pub struct QueueState {
    pub queue: String,
    /// Ready messages and consumers; `None` if RabbitMQ was not asked, or has no such queue.
    pub messages: Option<u32>,
    pub consumers: Option<u32>,
    /// Dead letters of it that wait for an operator; `None` if they could not be counted.
    pub dead_letters: Option<i64>,
}

impl Overview {
    /// Looks at everything once. What does not answer is a part of the overview.
    ///
    /// # Errors
    /// If an address cannot be read.
    pub async fn of(tools: Tools) -> Result<Self, OperatorError> {
        let topology = Arc::new(tools.topology);
        let broker = broker(tools.amqp_url.as_deref(), &topology)?;
        let own = postgres(&tools.database_url)?;
        let mut outboxes = Vec::with_capacity(topology.outboxes.len());
        for service in &topology.outboxes {
            let url = tools.outbox_urls.get(service).unwrap_or(&tools.database_url);
            outboxes.push(look(service, postgres(url)?));
        }
        let names: Vec<&str> = topology.queues.iter().map(|queue| queue.name.as_str()).collect();
        let (outboxes, letters, glance) = tokio::join!(
            join_all(outboxes),
            count_letters(own),
            glance(broker.as_ref(), &names)
        );
        let (letters, letters_trouble) = letters.map_or_else(
            |error| (None, Some(error.to_string())),
            |letters| (Some(letters), None),
        );
        let (seen, broker_trouble) = glance.map_or_else(
            |unreachable| (Vec::new(), Some(unreachable.to_string())),
            |seen| (seen, None),
        );
        let queues = names.iter().enumerate().map(|(index, name)| {
            let seen = seen.get(index).copied().flatten();
            let of_queue = |letters: &BTreeMap<String, i64>| letters.get(*name).copied().unwrap_or_default();
            QueueState {
                queue: (*name).to_owned(),
                messages: seen.map(|(messages, _)| messages),
                consumers: seen.map(|(_, consumers)| consumers),
                dead_letters: letters.as_ref().map(of_queue),
            }
        });
        let mut overview = Self {
            outboxes: Vec::with_capacity(outboxes.len()),
            letters_trouble,
            broker_trouble,
            queues: queues.collect(),
            gauges: Vec::new(),
            gauges_trouble: BTreeMap::new(),
        };
        for (service, looked) in topology.outboxes.iter().zip(outboxes) {
            overview.add(service, looked);
        }
        Ok(overview)
    }

    fn add(&mut self, service: &str, looked: Result<(Waiting, Said), DatabaseError>) {
        let waiting = looked.map(|(waiting, said)| {
            match said {
                Ok(gauges) => self.gauges.extend(gauges.into_iter().flatten()),
                Err(error) => {
                    self.gauges_trouble.insert(service.to_owned(), error.to_string());
                }
            }
            waiting
        });
        self.outboxes.push(OutboxState {
            service: service.to_owned(),
            waiting: waiting.map_err(|error| error.to_string()),
        });
    }
}

/// What a service says of itself, if it does.
type Said = Result<Option<Vec<Gauge>>, DatabaseError>;

/// Over a connection of its own: a table that is locked keeps nobody waiting for what is seen of the others.
async fn look(service: &str, config: Config) -> Result<(Waiting, Said), DatabaseError> {
    let client = connect(&config, "operator").await?;
    let waiting = Waiting::of(&client, service).await?;
    Ok((waiting, gauges(&client, service).await))
}

async fn count_letters(config: Config) -> Result<BTreeMap<String, i64>, DatabaseError> {
    let client = connect(&config, "operator").await?;
    let counted = client.query(include_str!("../sql/count_letters.sql"), &[]);
    let rows = within(Point::OperatorListed, counted).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// Nothing if it is not said where RabbitMQ is.
async fn glance(broker: Option<&Broker>, queues: &[&str]) -> Result<Vec<Option<(u32, u32)>>, Unreachable> {
    match broker {
        Some(broker) => broker.glance(queues).await,
        None => Ok(Vec::new()),
    }
}

fn numbers_or_trouble<S: Serializer>(
    waiting: &Result<Waiting, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match waiting {
        Ok(waiting) => waiting.serialize(serializer),
        Err(trouble) => BTreeMap::from([("trouble", trouble)]).serialize(serializer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;
    use serde_json::json;

    #[tokio::test]
    async fn a_shop_whose_servers_are_all_away_is_shown_nevertheless() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let away = free.local_addr().unwrap();
        drop(free);
        let topology = "
            exchange = 'e'
            dead_letters = 'd'
            outboxes = ['ordering', 'payment']
            [[queue]]
            name = 'q'
            service = 'ordering'
            bindings = ['a.b']";
        let tools = Tools {
            topology: Topology::parse(topology).unwrap(),
            database_url: format!("postgres://nobody@{away}/none"),
            outbox_urls: BTreeMap::from([("payment".to_owned(), format!("postgres://nobody@{away}/other"))]),
            amqp_url: Some(format!("amqp://{away}")),
        };
        let overview = Overview::of(tools).await.unwrap();
        assert_eq!(overview.outboxes.len(), 2);
        assert!(overview.outboxes.iter().all(|outbox| outbox.waiting.is_err()));
        assert!(overview.letters_trouble.unwrap().contains("refused"));
        assert!(overview.broker_trouble.is_some());
        assert_eq!(overview.queues[0].dead_letters, None);
        assert!(
            overview.gauges_trouble.is_empty(),
            "it is said once of each service"
        );
    }

    #[test]
    fn an_outbox_is_shown_by_its_numbers_or_by_its_trouble() {
        let waiting = Waiting {
            pending: 1,
            oldest_seconds: 2.5,
            parked: 3,
        };
        let shown = |waiting| {
            let service = "ordering".to_owned();
            serde_json::to_value(OutboxState { service, waiting }).unwrap()
        };
        assert_eq!(
            shown(Ok(waiting)),
            json!({"service": "ordering", "pending": 1, "oldest_seconds": 2.5, "parked": 3})
        );
        assert_eq!(
            shown(Err("away".to_owned())),
            json!({"service": "ordering", "trouble": "away"})
        );
    }
}
