//! The relay: from one service's outbox to the broker (R2 and R3). What lives here is the order of the
//! steps; what to publish together and what follows from the answers is `window`'s, whose partitions are whose is
//! `lease`'s.

pub mod floor;
pub mod lease;
pub(crate) mod message;
mod publisher;
mod session;
mod store;
pub mod window;

use crate::backoff::{Backoff, Condition};
use crate::broker::Broker;
use crate::database::DatabaseError;
use crate::topology::Topology;
use floor::{Floor, Slice};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use lease::Partitions;
use message::{Message, encode, message_id};
use publisher::{PublishError, Publisher};
use session::{LeaseError, Ownership, Session};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Attempt, Poll, Store};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use window::{Failure, Row, Window};

const REOPEN: Backoff = Backoff {
    first: Duration::from_millis(100),
    most: Duration::from_secs(2),
};
/// A broker that refuses a window, or asks for silence, is left alone for so long.
const BROKER_PAUSE: Duration = Duration::from_millis(250);

/// How the relay goes about it.
#[derive(Clone, Copy, Debug)]
pub struct RelaySettings {
    /// The most rows that are published together.
    pub window: u16,
    /// How many windows of one outbox may be under way at once, each on a channel of its own.
    pub windows: usize,
    /// The shortest and the longest pause between two polls that find nothing.
    pub poll: Backoff,
    /// How a row that nobody can route waits.
    pub row: Backoff,
    /// After how many such attempts it is parked.
    pub park_after: u16,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            window: 256,
            windows: 2,
            poll: Backoff {
                first: Duration::from_millis(10),
                most: Duration::from_millis(80),
            },
            row: Backoff {
                first: Duration::from_secs(1),
                most: Duration::from_secs(300),
            },
            park_after: 10,
        }
    }
}

/// The relay of one service.
pub(crate) struct Outbox {
    pub(crate) service: String,
    pub(crate) database: tokio_postgres::Config,
    pub(crate) broker: Broker,
    pub(crate) topology: Arc<Topology>,
    pub(crate) settings: RelaySettings,
    /// Told whenever there is likely something to publish. It remembers one call, so none is lost between two polls.
    pub(crate) wake: Arc<Notify>,
    pub(crate) drain: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error("{0}")]
    Publish(#[from] PublishError),
    #[error("{0}")]
    Lease(#[from] LeaseError),
    #[error("RabbitMQ gave back a message that was not published with this window")]
    Unclear,
}

impl Outbox {
    /// Relays until it is drained: windows under way are finished, no new one is begun.
    pub(crate) async fn run(self) {
        let mut condition = Condition::new(format!("relay of {}", self.service));
        let mut random = fastrand::Rng::new();
        while let Err(trouble) = self.term(&mut condition).await {
            // What was under way is unknown and dropped: it stays unmarked, so it is published again.
            metrics::gauge!("bridge_partitions_held", "service" => self.service.clone()).set(0);
            let failures = condition.down(&trouble.to_string());
            tokio::select! {
                () = sleep(REOPEN.after(failures, &mut random)) => {}
                () = self.drain.cancelled() => return,
            }
        }
    }

    /// One term of office: from taking partitions until it is drained (`Ok`) or something is lost.
    async fn term(&self, condition: &mut Condition) -> Result<(), Trouble> {
        let (mut publishers, store, session) = tokio::select! {
            opened = self.open() => opened?,
            () = self.drain.cancelled() => return Ok(()),
        };
        condition.up();
        let mut term = Term::new(self, &store, session);
        term.spare.append(&mut publishers);
        term.serve().await
    }

    /// The broker first: partitions are only for a relay that can publish.
    async fn open(&self) -> Result<(Vec<Publisher>, Store, Session), Trouble> {
        let mut publishers = Vec::with_capacity(self.settings.windows);
        for _ in 0..self.settings.windows.max(1) {
            publishers.push(Publisher::open(&self.broker, &self.topology.exchange).await?);
        }
        let store = Store::open(&self.database, &self.service).await?;
        let session = Session::open(&self.database, &self.service).await?;
        Ok((publishers, store, session))
    }

    /// Publishes a window, judges it, and writes down what became of it.
    async fn carry(
        &self,
        store: &Store,
        ours: &Ownership,
        publisher: &Publisher,
        window: Window<Message>,
        mut failures: Vec<Failure>,
    ) -> Result<Carried, Trouble> {
        let mut carried = Carried::default();
        let mut published = Vec::new();
        if window.messages().len() > 0 {
            let sent = Instant::now();
            let confirms = publisher.publish(&self.broker, &window, || ours.holds()).await?;
            self.observe_confirms(sent.elapsed());
            let name = |id| message_id(&self.service, id);
            let verdict = window.judge(&confirms, name).ok_or(Trouble::Unclear)?;
            carried.nacked = verdict.nacked.len();
            failures.extend(verdict.failed);
            published = verdict.published;
        }
        // A process that was paused must not decide about rows that are another relay's by now.
        if !ours.holds() {
            return Err(PublishError::LeaseLost.into());
        }
        if !published.is_empty() {
            store.mark(&published).await?;
            self.count("bridge_published_total", published.len());
        }
        if !failures.is_empty() {
            let park_after = i32::from(self.settings.park_after);
            let attempts = store.back_off(&failures, park_after, self.settings.row).await?;
            self.report(&attempts);
        }
        Ok(carried)
    }

    fn report(&self, attempts: &[Attempt]) {
        self.count("bridge_returned_total", attempts.len());
        for attempt in attempts {
            let Attempt {
                id,
                ordering_key,
                event_type,
                routing_key,
                attempts,
                reason,
                parked,
            } = attempt;
            let service = &self.service;
            if *parked {
                self.count("bridge_parked_total", 1);
                error!(
                    service,
                    id, ordering_key, event_type, routing_key, attempts, reason, "parked as dead"
                );
            } else if *attempts == 1 {
                warn!(
                    service,
                    id, ordering_key, event_type, routing_key, attempts, reason, "cannot be published"
                );
            }
        }
    }

    fn count(&self, name: &'static str, by: usize) {
        metrics::counter!(name, "service" => self.service.clone()).increment(by as u64);
    }

    fn observe_confirms(&self, took: Duration) {
        metrics::histogram!("bridge_confirm_seconds", "service" => self.service.clone()).record(took);
    }
}

/// What a window that was carried through means for the next one.
#[derive(Default)]
struct Carried {
    nacked: usize,
}

type Underway<'a> = BoxFuture<'a, (Publisher, u64, Result<Carried, Trouble>)>;
type Polling<'a> = BoxFuture<'a, Result<(Vec<Row>, Slice), DatabaseError>>;

/// The state of one term of office.
struct Term<'a> {
    outbox: &'a Outbox,
    store: &'a Store,
    session: Session,
    ours: Ownership,
    /// Channels with no window on them.
    spare: Vec<Publisher>,
    windows: FuturesUnordered<Underway<'a>>,
    polling: Option<Polling<'a>>,
    /// Rows under way and their partitions, by window.
    in_flight: HashMap<u64, Vec<(i64, u8)>>,
    next_window: u64,
    cadence: Cadence,
    floor: Floor,
    blocked: Condition,
    draining: bool,
}

impl<'a> Term<'a> {
    fn new(outbox: &'a Outbox, store: &'a Store, session: Session) -> Self {
        Self {
            outbox,
            store,
            ours: session.ownership(),
            session,
            spare: Vec::new(),
            windows: FuturesUnordered::new(),
            polling: None,
            in_flight: HashMap::new(),
            next_window: 0,
            cadence: Cadence::new(outbox.settings.poll),
            floor: Floor::default(),
            blocked: Condition::new(format!("publishing for {}", outbox.service)),
            draining: false,
        }
    }

    async fn serve(&mut self) -> Result<(), Trouble> {
        loop {
            if self.session.settle(self.busy()).await? {
                self.cadence.wake();
            }
            let held = self.session.usable().count();
            metrics::gauge!("bridge_partitions_held", "service" => self.outbox.service.clone()).set(held);
            if self.draining && self.windows.is_empty() {
                return Ok(());
            }
            self.begin_poll();
            tokio::select! {
                Some(polled) = answer(&mut self.polling) => self.begin_window(polled?),
                Some((publisher, window, carried)) = self.windows.next() => {
                    self.end_window(publisher, window, &carried?);
                }
                () = sleep_until(self.cadence.due), if self.may_poll() => {}
                () = self.outbox.wake.notified() => self.cadence.wake(),
                () = self.session.changed() => {}
                () = self.outbox.drain.cancelled(), if !self.draining => {
                    self.draining = true;
                    // What it would have found stays where it is.
                    self.polling = None;
                }
            }
        }
    }

    /// Partitions with rows under way.
    fn busy(&self) -> Partitions {
        let rows = self.in_flight.values().flatten();
        rows.fold(Partitions::NONE, |busy, (_, partition)| busy.with(*partition))
    }

    fn may_poll(&self) -> bool {
        self.polling.is_none()
            && !self.draining
            && !self.spare.is_empty()
            && self.session.usable().count() > 0
    }

    fn begin_poll(&mut self) {
        if !self.may_poll() || !self.cadence.is_due() {
            return;
        }
        if self.outbox.broker.is_blocked() {
            self.blocked
                .down("RabbitMQ is short of memory or disk, and asks for silence");
            self.cadence.pause(BROKER_PAUSE);
            return;
        }
        self.blocked.up();
        let poll = Poll {
            rows: i64::from(floor::slice_rows(
                self.outbox.settings.window.into(),
                self.session.usable().count(),
            )),
            take: i64::from(self.outbox.settings.window),
            partitions: self.session.usable(),
            in_flight: self.in_flight.values().flatten().map(|(id, _)| *id).collect(),
            after: self.floor.begin(std::time::Instant::now()),
        };
        let store = self.store;
        self.cadence.polling();
        self.polling = Some(Box::pin(async move { store.poll(&poll).await }));
    }

    fn begin_window(&mut self, (mut rows, slice): (Vec<Row>, Slice)) {
        self.polling = None;
        let more = self.floor.found(slice, std::time::Instant::now());
        self.cadence.polled(rows.len(), more);
        // A partition may have been given up since the poll was sent.
        let usable = self.session.usable();
        rows.retain(|row| usable.contains(row.partition));
        if rows.is_empty() {
            return;
        }
        let Some(publisher) = self.spare.pop() else { return };
        let number = self.next_window;
        self.next_window += 1;
        self.in_flight
            .insert(number, rows.iter().map(|row| (row.id, row.partition)).collect());
        let (outbox, store, ours) = (self.outbox, self.store, self.ours.clone());
        let (window, failures) = Window::select(rows, |row| encode(&outbox.service, &outbox.topology, row));
        self.windows.push(Box::pin(async move {
            let carried = outbox.carry(store, &ours, &publisher, window, failures).await;
            (publisher, number, carried)
        }));
    }

    fn end_window(&mut self, publisher: Publisher, number: u64, carried: &Carried) {
        self.spare.push(publisher);
        self.in_flight.remove(&number);
        if carried.nacked > 0 {
            info!(service = %self.outbox.service, rows = carried.nacked, "RabbitMQ refused messages for now");
            self.cadence.pause(BROKER_PAUSE);
        } else {
            // The next rows of the keys that were in it may go now.
            self.cadence.wake();
        }
    }
}

/// The answer of the poll that is under way, if one is.
async fn answer<T>(polling: &mut Option<BoxFuture<'_, T>>) -> Option<T> {
    match polling {
        Some(poll) => Some(poll.await),
        None => None,
    }
}

/// When to poll next: at once while there is something to do, ever less often while there is not.
struct Cadence {
    due: Instant,
    idle: Backoff,
    empty: u32,
    /// Woken while a poll was under way, which may have looked too early.
    woken: bool,
    /// Not even a wake-up brings the next poll before this.
    not_before: Instant,
}

impl Cadence {
    fn new(idle: Backoff) -> Self {
        let now = Instant::now();
        Self {
            due: now,
            idle,
            empty: 0,
            woken: false,
            not_before: now,
        }
    }

    fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }

    fn wake(&mut self) {
        self.woken = true;
        self.due = self.not_before;
        self.empty = 0;
    }

    fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause;
        self.due = self.not_before;
    }

    fn polling(&mut self) {
        self.woken = false;
    }

    fn polled(&mut self, rows: usize, full: bool) {
        self.empty = if rows == 0 {
            self.empty.saturating_add(1)
        } else {
            0
        };
        if self.woken || full {
            self.due = self.not_before;
            return;
        }
        let doublings = self.empty.min(16);
        let wait = self.idle.first.saturating_mul(1 << doublings).min(self.idle.most);
        self.due = self.not_before.max(Instant::now() + wait);
    }
}
