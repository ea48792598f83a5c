//! What an operator does about dead letters: looks at them, has them tried again, discards them; and publishes again
//! what a broker has lost (`replay`). Two kinds of things wait for an operator: letters in `bridge.dead_letters`, which
//! no service would take, and parked rows of an outbox, which no queue would.
//!
//! Every act locks what it is about, so that of two operators at once only one acts, and is recorded in
//! `bridge.dead_letter_acts`.

mod item;
mod letters;
mod overview;
mod parked;
mod replay;

pub use crate::lookout::{Gauge, Waiting};
pub use item::{Filter, Item, ItemId};
pub use overview::{OutboxState, Overview, QueueState};
pub use replay::{Replay, Replayed};

use crate::broker::Broker;
use crate::database::{self, DatabaseError, within};
use crate::topology::Topology;
use chrono::{DateTime, SecondsFormat, Utc};
use crash_points::{Point, through};
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, Row};

/// Why an operator's wish is not fulfilled. One line.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("{0}")]
    Setup(String),
    #[error("there is no {0}")]
    Unknown(ItemId),
    #[error("it does not wait for an operator, or another one is at it")]
    NotOpen,
    #[error("{0}")]
    Broker(String),
    #[error("{0}")]
    Database(String),
}

impl From<DatabaseError> for OperatorError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<tokio_postgres::Error> for OperatorError {
    fn from(error: tokio_postgres::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// What an operator works with.
#[derive(Clone, Debug)]
pub struct Tools {
    pub topology: Topology,
    /// `postgres://…` of the bridge's own login.
    pub database_url: String,
    /// Where the outbox of a service is that has moved to a database of its own.
    pub outbox_urls: BTreeMap<String, String>,
    /// `amqp://…`; needed to try letters again, and for nothing else.
    pub amqp_url: Option<String>,
}

/// Who acts, and why.
#[derive(Clone, Debug)]
pub struct Act {
    pub by: String,
    pub reason: Option<String>,
}

/// What is to become of something that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A letter is published again to the queue that it died in, and to no other; a parked row is due again.
    Retry,
    /// It is kept until it is pruned, and waits for nobody any more.
    Discard,
}

impl Wish {
    /// As it is recorded.
    #[must_use]
    pub fn past(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Discard => "discarded",
        }
    }
}

/// An operator at work.
#[derive(Debug)]
pub struct Operator {
    topology: Arc<Topology>,
    own: Client,
    /// Databases that services have moved to.
    moved: BTreeMap<String, Client>,
    broker: Option<Broker>,
    /// With confirms, once something was published.
    channel: Option<Channel>,
}

impl Operator {
    /// Connects to every database.
    ///
    /// # Errors
    /// If an address cannot be read or a database not be reached.
    pub async fn connect(tools: Tools) -> Result<Self, OperatorError> {
        let topology = Arc::new(tools.topology);
        let mut moved = BTreeMap::new();
        for (service, url) in &tools.outbox_urls {
            let client = database::connect(&postgres(url)?, "operator").await?;
            moved.insert(service.clone(), client);
        }
        Ok(Self {
            own: database::connect(&postgres(&tools.database_url)?, "operator").await?,
            broker: broker(tools.amqp_url.as_deref(), &topology)?,
            topology,
            moved,
            channel: None,
        })
    }

    /// Everything that waits for an operator and that the filter lets through, oldest first.
    ///
    /// # Errors
    /// If a database does not answer.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Item>, OperatorError> {
        let mut items = letters::list(&self.own, &self.topology, filter).await?;
        for service in &self.topology.outboxes {
            if filter.takes_service(service) {
                items.extend(parked::list(self.outbox(service), &self.topology, service, filter).await?);
            }
        }
        items.sort_by(|one, other| (one.since, &one.id).cmp(&(other.since, &other.id)));
        Ok(items)
    }

    /// All that is known of one, named, in the order in which it is to be read: strings, numbers, or JSON.
    ///
    /// # Errors
    /// If there is no such thing, or a database does not answer.
    pub async fn show(&self, id: &ItemId) -> Result<Vec<(String, Value)>, OperatorError> {
        let correlate_by = self.topology.correlate_by.as_deref();
        let rows = match id {
            ItemId::Letter(number) => {
                let sql = include_str!("sql/show_letter.sql");
                within(
                    Point::OperatorShown,
                    self.own.query(sql, &[number, &correlate_by]),
                )
                .await?
            }
            ItemId::Parked { service, id: number } => {
                self.check_outbox(service, id)?;
                let sql = database::in_schema(include_str!("sql/show_row.sql"), service);
                within(
                    Point::OperatorShown,
                    self.outbox(service)
                        .query(&sql, &[number, service, &correlate_by]),
                )
                .await?
            }
        };
        let row = rows.first().ok_or_else(|| OperatorError::Unknown(id.clone()))?;
        let mut fields = named(row)?;
        let subject = id.to_string();
        let acts = include_str!("sql/acts.sql");
        let acts = within(Point::OperatorShown, self.own.query(acts, &[&subject])).await?;
        let acts: Result<Vec<Value>, OperatorError> = acts
            .iter()
            .map(|act| Ok(Value::Object(named(act)?.into_iter().collect::<Map<_, _>>())))
            .collect();
        fields.push(("acts".to_owned(), Value::Array(acts?)));
        Ok(fields)
    }

    /// Does what is wished to one of those that wait.
    ///
    /// Crash-safe: a letter is published first and marked then, so a crash between the two repeats it, which its
    /// consumer's inbox makes harmless. Nothing is marked that the broker has not confirmed.
    ///
    /// # Errors
    /// If it does not wait, if another operator is at it, or if a server does not do its part: then it waits as before.
    pub async fn act(&mut self, id: &ItemId, wish: Wish, act: &Act) -> Result<(), OperatorError> {
        match id {
            ItemId::Letter(number) => {
                if wish == Wish::Retry {
                    self.open_channel().await?;
                }
                let channel = self.channel.as_ref().filter(|_| wish == Wish::Retry);
                let ended = letters::act(&mut self.own, &self.topology, *number, channel, act).await;
                if matches!(ended, Err(OperatorError::Broker(_))) {
                    self.channel = None;
                }
                ended
            }
            ItemId::Parked { service, id: number } => {
                self.check_outbox(service, id)?;
                match self.moved.get_mut(service) {
                    Some(moved) => parked::act(moved, Some(&self.own), service, *number, wish, act).await,
                    None => parked::act(&mut self.own, None, service, *number, wish, act).await,
                }
            }
        }
    }

    /// Whether it waits for an operator.
    ///
    /// # Errors
    /// If it does not, or a database does not answer.
    pub async fn check_open(&self, id: &ItemId) -> Result<(), OperatorError> {
        let rows = match id {
            ItemId::Letter(number) => {
                let lock = include_str!("sql/lock_letter.sql");
                within(Point::OperatorChecked, self.own.query(lock, &[number])).await?
            }
            ItemId::Parked { service, id: number } => {
                self.check_outbox(service, id)?;
                let sql = database::in_schema(include_str!("sql/lock_parked.sql"), service);
                within(
                    Point::OperatorChecked,
                    self.outbox(service).query(&sql, &[number]),
                )
                .await?
            }
        };
        rows.first().map(drop).ok_or(OperatorError::NotOpen)
    }

    /// Publishes again what was published since a moment.
    ///
    /// # Errors
    /// If a service has no outbox, or a database does not answer: what was done until then is done.
    pub async fn replay(
        &mut self,
        replay: &Replay,
        act: Option<&Act>,
    ) -> Result<Vec<Replayed>, OperatorError> {
        for service in &replay.services {
            if !self.topology.outboxes.contains(service) {
                return Err(OperatorError::Setup(format!(
                    "the topology has no outbox of {service:?}"
                )));
            }
        }
        let mut all = Vec::new();
        for service in &self.topology.outboxes {
            if replay.services.is_empty() || replay.services.contains(service) {
                let rows = replay
                    .carry_out(self.outbox(service), &self.own, service, act)
                    .await?;
                let service = service.clone();
                all.push(Replayed { service, rows });
            }
        }
        Ok(all)
    }

    fn outbox(&self, service: &str) -> &Client {
        self.moved.get(service).unwrap_or(&self.own)
    }

    fn check_outbox(&self, service: &str, id: &ItemId) -> Result<(), OperatorError> {
        let known = self.topology.outboxes.iter().any(|outbox| outbox == service);
        known
            .then_some(())
            .ok_or_else(|| OperatorError::Unknown(id.clone()))
    }

    async fn open_channel(&mut self) -> Result<(), OperatorError> {
        if self.channel.is_some() {
            return Ok(());
        }
        let broker = self.broker.as_ref().ok_or_else(|| {
            OperatorError::Setup("RabbitMQ's address is needed to try a letter again: --amqp-url".to_owned())
        })?;
        let unreachable = |reason: String| OperatorError::Broker(format!("RabbitMQ: {reason}"));
        // Once, and quietly: what is wrong is told to who asked.
        broker
            .check()
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let channel = broker
            .try_channel()
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let confirming = channel.confirm_select(ConfirmSelectOptions::default());
        through(Point::OperatorConfirming, confirming)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        self.channel = Some(channel);
        Ok(())
    }
}

/// Records an act.
async fn record(
    client: &impl GenericClient,
    act: &Act,
    what: &str,
    subject: &str,
    event_id: Option<&str>,
) -> Result<(), OperatorError> {
    let sql = include_str!("sql/record.sql");
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&act.by, &what, &subject, &event_id, &act.reason];
    within(Point::OperatorRecorded, client.execute(sql, &values)).await?;
    Ok(())
}

fn postgres(url: &str) -> Result<tokio_postgres::Config, OperatorError> {
    // The address may hold a password: it is not repeated.
    url.parse()
        .map_err(|error| OperatorError::Setup(format!("a database url cannot be read: {error}")))
}

/// RabbitMQ, if it is said where it is. Nothing is connected yet.
fn broker(url: Option<&str>, topology: &Arc<Topology>) -> Result<Option<Broker>, OperatorError> {
    let uri = url.map(crate::bridge::amqp_uri).transpose();
    let uri = uri.map_err(|error| OperatorError::Setup(error.to_string()))?;
    Ok(uri.map(|uri| Broker::new(uri, "operator", topology.clone())))
}

/// The columns of a row that are texts, numbers, times or JSON, by their names.
fn named(row: &Row) -> Result<Vec<(String, Value)>, OperatorError> {
    let value = |place: usize, kind: &Type| -> Result<Value, tokio_postgres::Error> {
        Ok(match *kind {
            Type::JSONB => row.try_get::<_, Option<Value>>(place)?.unwrap_or_default(),
            Type::INT8 => Value::from(row.try_get::<_, Option<i64>>(place)?),
            Type::INT4 => Value::from(row.try_get::<_, Option<i32>>(place)?),
            Type::TIMESTAMPTZ => {
                let at: Option<DateTime<Utc>> = row.try_get(place)?;
                Value::from(at.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true)))
            }
            _ => Value::from(row.try_get::<_, Option<String>>(place)?),
        })
    };
    let columns = row.columns().iter().enumerate();
    columns
        .map(|(place, column)| Ok((column.name().to_owned(), value(place, column.type_())?)))
        .collect()
}

/// The name under which a parked row's outbox stands where a letter has its queue.
pub(crate) fn outbox_name(service: &str) -> String {
    format!("outbox:{service}")
}
