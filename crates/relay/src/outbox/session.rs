//! The session whose advisory locks are this relay's partitions: it says every two seconds that it lives, outside any
//! transaction, and the server ends it, locks and all, when it has not for ten.

use super::lease::{HEARTBEAT, Holding, Observation, Partitions, SESSION_TIMEOUT, Validity};
use crate::database::{self, DatabaseError, within};
use crash_points::Point;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

/// The object of the lock that each relay holds shared, so that the others can count it.
const PRESENCE: i32 = 64;

/// Whether the partitions are still ours, for those who must ask often.
#[derive(Clone)]
pub(super) struct Ownership(Arc<Mutex<Validity>>);

impl Ownership {
    pub(super) fn holds(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .holds(Instant::now())
    }

    fn confirm(&self, sent: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Validity::after_statement(sent);
    }
}

/// What the heartbeat saw last, or why it has stopped.
type Sight = Result<Observation, String>;

pub(super) struct Session {
    client: Arc<Client>,
    class: i32,
    holding: Holding,
    ownership: Ownership,
    sight: watch::Receiver<Sight>,
    heartbeat: JoinHandle<()>,
}

impl Session {
    /// Opens the session, holding nothing yet.
    pub(super) async fn open(config: &tokio_postgres::Config, service: &str) -> Result<Self, DatabaseError> {
        let class = class(service);
        let client = Arc::new(database::connect(config, &format!("lease {service}")).await?);
        let timeout = format!("set idle_session_timeout = {}", SESSION_TIMEOUT.as_millis());
        within(Point::LeaseBounded, client.batch_execute(&timeout)).await?;
        let present = "select pg_advisory_lock_shared($1, $2)";
        within(Point::LeasePresent, client.query(present, &[&class, &PRESENCE])).await?;
        let observe = within(
            Point::LeasePrepared,
            client.prepare(include_str!("sql/observe.sql")),
        )
        .await?;
        let sent = Instant::now();
        let ownership = Ownership(Arc::new(Mutex::new(Validity::after_statement(sent))));
        let seen = look(&client, &observe, class).await?;
        let (sender, mut sight) = watch::channel(Ok(seen));
        sight.mark_changed();
        let heartbeat = tokio::spawn(beat(client.clone(), observe, class, ownership.clone(), sender));
        let holding = Holding::new(fastrand::u8(0..64));
        Ok(Self {
            client,
            class,
            holding,
            ownership,
            sight,
            heartbeat,
        })
    }

    pub(super) fn ownership(&self) -> Ownership {
        self.ownership.clone()
    }

    /// The partitions whose rows may be begun.
    pub(super) fn usable(&self) -> Partitions {
        self.holding.usable()
    }

    /// Waits until a heartbeat has seen something. After that, [`Session::settle`] is due.
    pub(super) async fn changed(&mut self) {
        if self.sight.changed().await.is_err() {
            // The heartbeat has ended and told why; `settle` has returned that.
            std::future::pending().await
        }
        self.sight.mark_changed();
    }

    /// Gives up what this relay has too much of and takes what it has too little of. Partitions in `busy` have rows
    /// under way. Returns whether it took any.
    pub(super) async fn settle(&mut self, busy: Partitions) -> Result<bool, LeaseError> {
        let mut wanted = Partitions::NONE;
        // A heartbeat that has ended leaves its reason behind.
        if self.sight.has_changed().unwrap_or(true) {
            let seen = self.sight.borrow_and_update().clone().map_err(LeaseError::Lost)?;
            wanted = self.holding.observe(seen);
        }
        let surplus = self.holding.give_up(busy);
        if surplus.count() > 0 {
            let numbers = numbers(surplus);
            within(
                Point::LeaseReleased,
                self.client
                    .query(include_str!("sql/release.sql"), &[&self.class, &numbers]),
            )
            .await?;
        }
        if wanted.count() == 0 {
            return Ok(false);
        }
        let numbers = numbers(wanted);
        let rows = within(
            Point::LeaseTaken,
            self.client
                .query(include_str!("sql/take.sql"), &[&self.class, &numbers]),
        )
        .await?;
        let taken = rows
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<Vec<i32>, _>>();
        let taken = taken.map_err(DatabaseError::from)?;
        let taken = taken.into_iter().filter_map(|number| u8::try_from(number).ok());
        let taken = taken.fold(Partitions::NONE, Partitions::with);
        self.holding.took(taken);
        Ok(taken.count() > 0)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // With the task goes the last handle to the client, with that the connection, with that the locks.
        self.heartbeat.abort();
    }
}

/// Why partitions cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    #[error("the lease is lost: {0}")]
    Lost(String),
    #[error("{0}")]
    Database(#[from] DatabaseError),
}

async fn beat(
    client: Arc<Client>,
    observe: Statement,
    class: i32,
    ownership: Ownership,
    sight: watch::Sender<Sight>,
) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let sent = Instant::now();
        let seen = look(&client, &observe, class).await;
        let alive = seen.is_ok();
        if alive {
            ownership.confirm(sent);
        }
        let told = sight.send(seen.map_err(|error| error.to_string()));
        if !alive || told.is_err() {
            return;
        }
    }
}

async fn look(client: &Client, observe: &Statement, class: i32) -> Result<Observation, DatabaseError> {
    let row = within(
        Point::LeaseObserved,
        client.query_one(observe, &[&class.cast_unsigned()]),
    )
    .await?;
    let others: i64 = row.try_get(0)?;
    let relays: i64 = row.try_get(1)?;
    Ok(Observation {
        others: Partitions(others.cast_unsigned()),
        relays: u32::try_from(relays).unwrap_or(u32::MAX),
    })
}

fn numbers(partitions: Partitions) -> Vec<i32> {
    partitions.iter().map(i32::from).collect()
}

/// The lock class of a service's outbox: FNV-1a of its name, so that every relay computes the same. Advisory locks
/// belong to one database: only services that share one must differ.
fn class(service: &str) -> i32 {
    let hash = format!("outbox:{service}")
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    (hash & 0x7fff_ffff).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_class_is_the_same_in_every_release() {
        // Two releases side by side must lock the same thing.
        assert_eq!(class("ordering"), 1_427_084_106);
        assert_ne!(class("ordering"), class("payment"));
    }
}
