//! The shop at a glance: what waits where, and what services say of themselves.

use super::{Operator, OperatorError};
use crate::database::{in_schema, within};
use crate::lookout::{Gauge, depth, gauges};
use crash_points::Point;
use serde::Serialize;
use std::collections::BTreeMap;

/// What waits, and where.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    pub outboxes: Vec<OutboxState>,
    /// Why RabbitMQ could not be asked; `None` if it was, or if it is not said where it is.
    pub broker_trouble: Option<String>,
    pub queues: Vec<QueueState>,
    pub gauges: Vec<Gauge>,
}

/// One service's outbox.
#[derive(Clone, Debug, Serialize)]
pub struct OutboxState {
    pub service: String,
    /// Rows that are due, counted up to 10,001.
    pub pending: i64,
    /// For how long the oldest of them has been.
    pub oldest_seconds: f64,
    /// Rows that wait for an operator.
    pub parked: i64,
}

/// One queue, as far as it could be seen.
#[derive(Clone, Debug, Serialize)]
pub struct QueueState {
    pub queue: String,
    /// Ready messages and consumers; `None` if RabbitMQ was not asked, or has no such queue.
    pub messages: Option<u32>,
    pub consumers: Option<u32>,
    /// Dead letters of it that wait for an operator.
    pub dead_letters: i64,
}

impl Operator {
    /// Looks at everything once.
    ///
    /// # Errors
    /// If a database does not answer. A broker that does not is a part of the overview.
    pub async fn overview(&self) -> Result<Overview, OperatorError> {
        let (mut outboxes, mut all_gauges) = (Vec::new(), Vec::new());
        for service in &self.topology.outboxes {
            let client = self.outbox(service);
            let (pending, oldest_seconds) = depth(client, service).await?;
            let sql = in_schema(include_str!("../sql/count_parked.sql"), service);
            let parked = within(Point::OperatorListed, client.query_one(&sql, &[])).await?;
            outboxes.push(OutboxState {
                service: service.clone(),
                pending,
                oldest_seconds,
                parked: parked.try_get(0)?,
            });
            all_gauges.extend(gauges(client, service).await?.into_iter().flatten());
        }
        let letters = include_str!("../sql/count_letters.sql");
        let letters = within(Point::OperatorListed, self.own.query(letters, &[])).await?;
        let mut dead: BTreeMap<String, i64> = BTreeMap::new();
        for row in letters {
            dead.insert(row.try_get(0)?, row.try_get(1)?);
        }
        let names: Vec<&str> = self
            .topology
            .queues
            .iter()
            .map(|queue| queue.name.as_str())
            .collect();
        let (seen, broker_trouble) = match &self.broker {
            None => (Vec::new(), None),
            Some(broker) => match broker.glance(&names).await {
                Ok(seen) => (seen, None),
                Err(unreachable) => (Vec::new(), Some(unreachable.to_string())),
            },
        };
        let queues = names.iter().enumerate().map(|(index, name)| {
            let seen = seen.get(index).copied().flatten();
            QueueState {
                queue: (*name).to_owned(),
                messages: seen.map(|(messages, _)| messages),
                consumers: seen.map(|(_, consumers)| consumers),
                dead_letters: dead.get(*name).copied().unwrap_or_default(),
            }
        });
        Ok(Overview {
            outboxes,
            broker_trouble,
            queues: queues.collect(),
            gauges: all_gauges,
        })
    }
}
