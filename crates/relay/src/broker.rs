//! The connection to RabbitMQ: opened, told the whole topology, and opened again when it is lost. lapin's own
//! recovery is off: what was in flight on a lost connection is not known to have arrived, and only its users know
//! what follows from that.

use crate::backoff::{Backoff, Condition};
use crate::topology::{Queue, Topology};
use crash_points::{Point, through};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

/// A paused consumer is replaced after two of these have gone by unanswered.
const HEARTBEAT_SECONDS: u16 = 4;
/// Connecting, declaring and opening a channel each take at most this long.
const PATIENCE: Duration = Duration::from_secs(5);
const RECONNECT: Backoff = Backoff {
    first: Duration::from_millis(100),
    most: Duration::from_secs(2),
};
/// Only a backstop: a crash of a consumer counts against every message that it had prefetched (R4).
const DELIVERY_LIMIT: i64 = 1_000;
/// Dead letters have nowhere else to go. Without a limit RabbitMQ 4 would assume 20 and drop them.
const DEAD_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Why a connection could not be had. `fatal` ones will not pass by waiting.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Unreachable {
    pub(crate) reason: String,
    pub(crate) fatal: bool,
}

/// One connection of the process, shared by all who clone this.
#[derive(Clone)]
pub(crate) struct Broker {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address holds a password.
        formatter
            .debug_struct("Broker")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

struct Inner {
    uri: AMQPUri,
    name: String,
    topology: Arc<Topology>,
    slot: Mutex<Slot>,
}

struct Slot {
    connection: Option<Connection>,
    condition: Condition,
    retry_at: Instant,
}

impl Broker {
    /// Nothing is connected yet. `purpose` tells this connection from the process's others.
    pub(crate) fn new(mut uri: AMQPUri, purpose: &str, topology: Arc<Topology>) -> Self {
        uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
        let slot = Slot {
            connection: None,
            condition: Condition::new(format!("RabbitMQ ({purpose})")),
            retry_at: Instant::now(),
        };
        let name = format!("host-bridge {purpose}");
        Self {
            inner: Arc::new(Inner {
                uri,
                name,
                topology,
                slot: Mutex::new(slot),
            }),
        }
    }

    /// A new channel on a connection over which the whole topology was declared. Waits until there is one.
    pub(crate) async fn channel(&self) -> Channel {
        loop {
            if let Ok(channel) = self.try_channel().await {
                return channel;
            }
        }
    }

    /// One attempt at [`Broker::channel`], after the pause that earlier failures impose.
    ///
    /// # Errors
    /// If there is no connection to be had, or the topology is refused.
    pub(crate) async fn try_channel(&self) -> Result<Channel, Unreachable> {
        let mut slot = self.inner.slot.lock().await;
        let alive = slot
            .connection
            .as_ref()
            .is_some_and(|connection| connection.status().connected());
        if !alive {
            slot.connection = None;
            sleep_until(slot.retry_at).await;
        }
        match self.inner.open(&mut slot.connection).await {
            Ok(channel) => {
                slot.condition.up();
                Ok(channel)
            }
            Err(unreachable) => {
                slot.connection = None;
                let failures = slot.condition.down(&unreachable.reason);
                slot.retry_at = Instant::now() + RECONNECT.after(failures, &mut fastrand::Rng::new());
                Err(unreachable)
            }
        }
    }

    /// Tries once, quietly: whether it works is for the caller to tell.
    ///
    /// # Errors
    /// As [`Broker::try_channel`].
    pub(crate) async fn check(&self) -> Result<(), Unreachable> {
        let mut slot = self.inner.slot.lock().await;
        self.inner.open(&mut slot.connection).await.map(drop)
    }

    /// How many messages are ready in each of these queues and how many consumers it has; `None` for one that is not
    /// there. Over a connection of its own, and declares nothing.
    ///
    /// # Errors
    /// If there is no connection to be had.
    pub(crate) async fn glance(&self, queues: &[&str]) -> Result<Vec<Option<(u32, u32)>>, Unreachable> {
        let connection = self.inner.dial().await?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let mut seen = Vec::with_capacity(queues.len());
        for queue in queues {
            // A queue that is not there ends the channel.
            let channel = within(Point::ChannelOpened, connection.create_channel()).await?;
            let Ok(name) = short(queue) else {
                seen.push(None);
                continue;
            };
            let asked = channel.queue_declare(name, passive, FieldTable::default());
            let queue = within(Point::QueueDeclared, asked).await;
            seen.push(
                queue
                    .ok()
                    .map(|queue| (queue.message_count(), queue.consumer_count())),
            );
        }
        let goodbye = connection.close(200, ShortString::from("seen"));
        let _ = within(Point::BrokerClosed, goodbye).await;
        Ok(seen)
    }

    /// Whether the broker has asked this connection to publish nothing (it is short of memory or disk).
    pub(crate) fn is_blocked(&self) -> bool {
        // Somebody is connecting: not blocked, lost.
        let Ok(slot) = self.inner.slot.try_lock() else {
            return false;
        };
        slot.connection
            .as_ref()
            .is_some_and(|connection| connection.status().blocked())
    }

    /// Closes the connection properly. What is unacknowledged goes back to its queue.
    pub(crate) async fn disconnect(&self) {
        let connection = self.inner.slot.lock().await.connection.take();
        if let Some(connection) = connection {
            let goodbye = connection.close(200, ShortString::from("drained"));
            let _ = timeout(Duration::from_secs(1), through(Point::BrokerClosed, goodbye)).await;
        }
    }
}

impl Inner {
    async fn open(&self, slot: &mut Option<Connection>) -> Result<Channel, Unreachable> {
        if slot.is_none() {
            *slot = Some(self.connect().await?);
        }
        match slot {
            Some(connection) => within(Point::ChannelOpened, connection.create_channel()).await,
            None => Err(Unreachable {
                reason: "not connected".to_owned(),
                fatal: false,
            }),
        }
    }

    async fn dial(&self) -> Result<Connection, Unreachable> {
        let properties =
            ConnectionProperties::default().with_connection_name(LongString::from(self.name.as_str()));
        let connected = Connection::connect_uri(self.uri.clone(), properties);
        within(Point::BrokerConnected, connected).await
    }

    async fn connect(&self) -> Result<Connection, Unreachable> {
        let connection = self.dial().await?;
        let channel = within(Point::ChannelOpened, connection.create_channel()).await?;
        within(Point::Declared, declare(&channel, &self.topology)).await?;
        let end = channel.close(200, ShortString::from("declared"));
        let _ = within(Point::DeclaringEnded, end).await;
        Ok(connection)
    }
}

async fn within<T>(point: Point, attempt: impl Future<Output = lapin::Result<T>>) -> Result<T, Unreachable> {
    match timeout(PATIENCE, through(point, attempt)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Unreachable {
            reason: error.to_string(),
            fatal: is_fatal(&error),
        }),
        Err(_) => Err(Unreachable {
            reason: format!("no answer within {} s", PATIENCE.as_secs()),
            fatal: false,
        }),
    }
}

/// A wrong password or virtual host stays wrong.
fn is_fatal(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else {
        return false;
    };
    matches!(
        error.kind(),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
    )
}

/// Declares every exchange, queue and binding. All of it is idempotent; an argument that differs from what the broker
/// has is refused with a message that names the queue and the argument.
async fn declare(channel: &Channel, topology: &Topology) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    for name in [&topology.exchange, &topology.dead_letters] {
        let declared =
            channel.exchange_declare(short(name)?, ExchangeKind::Topic, durable, FieldTable::default());
        through(Point::ExchangeDeclared, declared).await?;
    }
    let dead = &topology.dead_letters;
    declare_queue(channel, dead, dead_queue_arguments()).await?;
    bind(channel, dead, dead, "#").await?;
    for queue in &topology.queues {
        declare_queue(channel, &queue.name, queue_arguments(topology, queue)).await?;
        for pattern in &queue.bindings {
            bind(channel, &queue.name, &topology.exchange, pattern).await?;
        }
    }
    Ok(())
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(short(name)?, durable, arguments);
    through(Point::QueueDeclared, declared).await.map(drop)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, pattern: &str) -> lapin::Result<()> {
    let bound = channel.queue_bind(
        short(queue)?,
        short(exchange)?,
        short(pattern)?,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    through(Point::QueueBound, bound).await
}

/// Final: a queue that exists refuses to be declared with others. The routing key of a dead letter is the name of the
/// queue that it died in; its original one stands in `x-death` or, if the shuttle buried it, in a header of ours.
fn queue_arguments(topology: &Topology, queue: &Queue) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-dead-letter-exchange", text(&topology.dead_letters)),
        ("x-dead-letter-routing-key", text(&queue.name)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT)),
    ])
}

fn dead_queue_arguments() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongLongInt(DEAD_DELIVERY_LIMIT)),
    ])
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn table<const N: usize>(entries: [(&'static str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(ShortString::from(name), value);
    }
    table
}

/// The topology's names are checked when it is read, yet lapin panics on a long one: so this never assumes it.
fn short(name: &str) -> lapin::Result<ShortString> {
    ShortString::try_new(name).map_err(|error| lapin::Error::from(std::io::Error::other(error)))
}
