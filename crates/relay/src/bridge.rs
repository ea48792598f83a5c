//! Puts the bridge together: a relay for each outbox, a shuttle for each queue, the drain of dead letters, and pruning.

use crate::broker::Broker;
use crate::database::{self, DatabaseError};
use crate::dead_letters::DeadLetters;
use crate::lookout::Lookout;
use crate::outbox::{Outbox, RelaySettings};
use crate::prune::{Prune, PruneSettings};
use crate::shuttle::post::Services;
use crate::shuttle::{Shuttle, ShuttleSettings};
use crate::topology::{BRIDGE, Topology};
use event_batch::SigningKey;
use lapin::uri::{AMQPScheme, AMQPUri};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often it is looked at what waits for an operator.
const LOOKOUT: Duration = Duration::from_secs(5);

/// What a bridge needs.
#[derive(Clone, Debug)]
pub struct Config {
    pub topology: Topology,
    /// `postgres://…` of the bridge's own login.
    pub database_url: String,
    /// Where the outbox of a service is that has moved to a database of its own.
    pub outbox_urls: BTreeMap<String, String>,
    /// `amqp://…`
    pub amqp_url: String,
    /// `http://host:port`, under which every service has `/internal/<service>/events`.
    pub events_url: String,
    /// The same for services that answer elsewhere.
    pub service_urls: BTreeMap<String, String>,
    pub events_key: SigningKey,
    pub relay: RelaySettings,
    pub shuttle: ShuttleSettings,
    pub prune: PruneSettings,
    /// How often it is looked at what waits for an operator.
    pub lookout: Duration,
}

impl Config {
    /// With the usual settings, and every outbox in the one database.
    #[must_use]
    pub fn new(
        topology: Topology,
        database_url: String,
        amqp_url: String,
        events_url: String,
        events_key: SigningKey,
    ) -> Self {
        Self {
            topology,
            database_url,
            outbox_urls: BTreeMap::new(),
            amqp_url,
            events_url,
            service_urls: BTreeMap::new(),
            events_key,
            relay: RelaySettings::default(),
            shuttle: ShuttleSettings::default(),
            prune: PruneSettings::default(),
            lookout: LOOKOUT,
        }
    }
}

/// Why a bridge does not start. One line, for an operator. A server that cannot be reached is no reason: it is waited
/// for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// Wakes the polls of the outboxes, so that what was just written is published at once.
#[derive(Clone, Debug)]
pub struct Nudge(Arc<BTreeMap<String, Arc<Notify>>>);

impl Nudge {
    /// Something may have been written, by whichever service.
    pub fn nudge(&self) {
        self.0.values().for_each(|outbox| outbox.notify_one());
    }

    /// This service may have written something. A service without an outbox is ignored.
    pub fn nudge_service(&self, service: &str) {
        if let Some(outbox) = self.0.get(service) {
            outbox.notify_one();
        }
    }
}

/// A bridge at work, until it is drained or dropped.
#[derive(Debug)]
pub struct Bridge {
    nudge: Nudge,
    drain: CancellationToken,
    tasks: JoinSet<()>,
    publishers: Broker,
    consumers: Broker,
}

impl Bridge {
    /// Starts everything in the background.
    ///
    /// # Errors
    /// If an address cannot be read, a server refuses us for good, or Postgres may lose what it acknowledges.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let databases = Databases::parse(&config)?;
        let services = services(&config)?;
        let topology = Arc::new(config.topology.clone());
        let uri = amqp_uri(&config.amqp_url)?;
        let publishers = Broker::new(uri.clone(), "publisher", topology.clone());
        let consumers = Broker::new(uri, "consumer", topology.clone());
        databases.check().await?;
        if let Err(unreachable) = publishers.check().await
            && unreachable.fatal
        {
            return Err(StartError(format!("RabbitMQ refuses the bridge: {unreachable}")));
        }
        let outboxes = topology.outboxes.iter();
        let nudge = Nudge(Arc::new(
            outboxes.map(|name| (name.clone(), Arc::default())).collect(),
        ));
        crate::metrics::begin(&topology);
        let mut bridge = Self {
            nudge,
            drain: CancellationToken::new(),
            tasks: JoinSet::new(),
            publishers,
            consumers,
        };
        bridge.start_relays(&config, &databases, &topology);
        bridge.start_shuttles(&config, &services);
        bridge.start_housekeeping(&config, &databases);
        info!(
            outboxes = topology.outboxes.len(),
            queues = topology.queues.len(),
            "bridge started"
        );
        Ok(bridge)
    }

    /// Something to wake the outbox polls with.
    #[must_use]
    pub fn nudge(&self) -> Nudge {
        self.nudge.clone()
    }

    /// Ends it in order: what is under way is finished and acknowledged, nothing new is begun. What is not done within
    /// `limit` is dropped, which loses nothing: it is published or delivered again.
    pub async fn drain(mut self, limit: Duration) {
        self.drain.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_err() {
            warn!(
                left = self.tasks.len(),
                "not drained in time; what is under way will be repeated"
            );
            self.tasks.abort_all();
        }
        self.consumers.disconnect().await;
        self.publishers.disconnect().await;
    }

    fn start_relays(&mut self, config: &Config, databases: &Databases, topology: &Arc<Topology>) {
        for (service, wake) in self.nudge.0.iter() {
            let outbox = Outbox {
                service: service.clone(),
                database: databases.of(service).clone(),
                broker: self.publishers.clone(),
                topology: topology.clone(),
                settings: config.relay,
                wake: wake.clone(),
                drain: self.drain.clone(),
            };
            self.tasks.spawn(outbox.run());
        }
    }

    fn start_shuttles(&mut self, config: &Config, services: &Services) {
        for queue in &config.topology.queues {
            let shuttle = Shuttle {
                queue: queue.clone(),
                dead_letters: config.topology.dead_letters.clone(),
                consumers: self.consumers.clone(),
                publishers: self.publishers.clone(),
                services: services.clone(),
                settings: config.shuttle,
                outbox: self.nudge.0.get(&queue.service).cloned(),
                drain: self.drain.clone(),
            };
            self.tasks.spawn(shuttle.run());
        }
    }

    fn start_housekeeping(&mut self, config: &Config, databases: &Databases) {
        let dead_letters = DeadLetters {
            queue: config.topology.dead_letters.clone(),
            correlate_by: config.topology.correlate_by.clone(),
            consumers: self.consumers.clone(),
            database: databases.own.clone(),
            drain: self.drain.clone(),
        };
        self.tasks.spawn(dead_letters.run());
        let outboxes = config.topology.outboxes.iter();
        let lookout = Lookout {
            queues: config
                .topology
                .queues
                .iter()
                .map(|queue| queue.name.clone())
                .collect(),
            outboxes: outboxes
                .map(|service| (service.clone(), databases.moved.get(service).cloned()))
                .collect(),
            own: databases.own.clone(),
            correlate_by: config.topology.correlate_by.clone(),
            interval: config.lookout,
            drain: self.drain.clone(),
        };
        self.tasks.spawn(lookout.run());
        // The bridge's own letters too, whether or not it has an outbox.
        let mut services = config.topology.services();
        services.insert(BRIDGE);
        for service in services {
            let prune = Prune {
                service: service.to_owned(),
                database: databases.of(service).clone(),
                settings: config.prune,
                drain: self.drain.clone(),
            };
            self.tasks.spawn(prune.run());
        }
    }
}

fn services(config: &Config) -> Result<Services, StartError> {
    let known = config.topology.services();
    let mut given = config.service_urls.keys();
    if let Some(service) = given.find(|service| !known.contains(service.as_str())) {
        return Err(StartError(format!(
            "a service url is given for {service:?}, which the topology has not"
        )));
    }
    Services::new(
        &config.events_url,
        &config.service_urls,
        config.events_key.clone(),
    )
    .map_err(StartError)
}

/// Where each table is.
struct Databases {
    own: tokio_postgres::Config,
    moved: BTreeMap<String, tokio_postgres::Config>,
}

impl Databases {
    fn parse(config: &Config) -> Result<Self, StartError> {
        let known: BTreeSet<&str> = config.topology.services();
        for service in config.outbox_urls.keys() {
            if !known.contains(service.as_str()) || service == BRIDGE {
                return Err(StartError(format!(
                    "an outbox url is given for {service:?}, which the topology has not, or which cannot move"
                )));
            }
        }
        let moved = config.outbox_urls.iter();
        let moved = moved.map(|(service, url)| Ok((service.clone(), postgres(url)?)));
        Ok(Self {
            own: postgres(&config.database_url)?,
            moved: moved.collect::<Result<_, StartError>>()?,
        })
    }

    fn of(&self, service: &str) -> &tokio_postgres::Config {
        self.moved.get(service).unwrap_or(&self.own)
    }

    /// Refuses a start that cannot come to anything. A server that is merely away is waited for.
    async fn check(&self) -> Result<(), StartError> {
        for config in std::iter::once(&self.own).chain(self.moved.values()) {
            let checked =
                async { database::check_durability(&database::connect(config, "start").await?).await };
            match checked.await {
                Err(error) if error.is_fatal() => return Err(StartError(error.to_string())),
                Err(DatabaseError::Silent | DatabaseError::Postgres(_) | DatabaseError::Unsafe(_))
                | Ok(()) => {}
            }
        }
        Ok(())
    }
}

fn postgres(url: &str) -> Result<tokio_postgres::Config, StartError> {
    // The address may hold a password: it is not repeated.
    url.parse()
        .map_err(|error| StartError(format!("a database url cannot be read: {error}")))
}

pub(crate) fn amqp_uri(url: &str) -> Result<AMQPUri, StartError> {
    let uri: AMQPUri = url
        .parse()
        .map_err(|error| StartError(format!("the amqp url cannot be read: {error}")))?;
    if uri.scheme == AMQPScheme::AMQPS {
        return Err(StartError(
            "amqps is not built in: give an amqp:// address".to_owned(),
        ));
    }
    Ok(uri)
}
