//! Named places at which a test can have the process killed, as by a power cut: no destructor, no flush. There is one
//! for each await on Postgres, Redis, RabbitMQ or HTTP on the way of an event or a request: where the answer is in, and
//! nothing has come of it yet. The gap before a call is the one after the call before it. Unarmed, a point costs one
//! relaxed load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A place to die at. What is documented is what has happened by then.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point { $($(#[$doc])* $point,)* }

        impl Point {
            /// Every point.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// As it is armed.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$point => $name,)* }
            }
        }
    };
}

points! {
    /// Connected to a database: for a relay, a lease, dead letters, pruning, or an operator.
    DatabaseConnected = "database.connected",
    /// The database says that it keeps what it acknowledges.
    DurabilityChecked = "database.durability_checked",

    /// Connected to the broker.
    BrokerConnected = "broker.connected",
    /// A channel is open.
    ChannelOpened = "broker.channel_opened",
    ExchangeDeclared = "broker.exchange_declared",
    QueueDeclared = "broker.queue_declared",
    QueueBound = "broker.queue_bound",
    /// The whole topology is declared.
    Declared = "broker.declared",
    /// The channel over which all was declared is closed.
    DeclaringEnded = "broker.declaring_ended",
    /// The connection is closed in order, at the end of a drain.
    BrokerClosed = "broker.closed",

    /// A relay's session ends by itself if it is not heard of.
    LeaseBounded = "lease.bounded",
    /// Other relays can count this one.
    LeasePresent = "lease.present",
    LeasePrepared = "lease.prepared",
    /// What others hold is seen, or a heartbeat was answered.
    LeaseObserved = "lease.observed",
    /// Partitions were given up for another relay.
    LeaseReleased = "lease.released",
    LeaseTaken = "lease.taken",

    /// The relay's session is set up.
    RelaySet = "relay.set",
    RelayPrepared = "relay.prepared",
    /// A channel of the relay's is in confirm mode.
    RelayConfirming = "relay.confirming",
    /// Rows are read from the outbox, nothing is published.
    RelayPolled = "relay.polled",
    /// A message is on its way to the broker; no confirm of its window is in.
    RelayPublished = "relay.published",
    /// A confirm is in, nothing is marked.
    RelayConfirmed = "relay.confirmed",
    /// Rows are marked as processed.
    RelayMarked = "relay.marked",
    /// Rows that cannot be published are put off, or parked.
    RelayBackedOff = "relay.backed_off",

    ShuttleBounded = "shuttle.bounded",
    ShuttleConsuming = "shuttle.consuming",
    /// A message is here, and no service has it yet.
    ShuttleDelivered = "shuttle.delivered",
    /// The head of a service's answer is here: the batch is handled.
    ShuttleAnswered = "shuttle.answered",
    /// The whole answer is here, nothing is acknowledged.
    ShuttleRead = "shuttle.read",
    /// A service has said how it is.
    ShuttleAsked = "shuttle.asked",
    /// An acknowledgement is on its way to the broker.
    ShuttleAcknowledged = "shuttle.acknowledged",
    /// Draining: the consumer is cancelled.
    ShuttleCancelled = "shuttle.cancelled",
    /// Draining: the channel is closed.
    ShuttleClosed = "shuttle.closed",

    /// The channel for dead letters is in confirm mode.
    BurialConfirming = "burial.confirming",
    /// A dead letter is on its way to the broker, its confirm is not in.
    BurialPublished = "burial.published",
    /// A dead letter is safe; its message is not acknowledged.
    BurialConfirmed = "burial.confirmed",

    LettersPrepared = "letters.prepared",
    LettersBounded = "letters.bounded",
    LettersConsuming = "letters.consuming",
    /// A dead letter is here, and not written down.
    LetterDelivered = "letters.delivered",
    /// A dead letter is written down and not acknowledged.
    LetterWritten = "letters.written",
    LetterAcknowledged = "letters.acknowledged",

    LookoutSet = "lookout.set",
    LettersCounted = "lookout.letters_counted",
    ParkedCounted = "lookout.parked_counted",
    /// How much waits in an outbox is known.
    DepthCounted = "lookout.depth_counted",
    /// What a service says of itself in its view `gauges` is read.
    GaugesRead = "lookout.gauges_read",
    /// This bridge is the one that tells of parked rows, or another is.
    LookoutLeads = "lookout.leads",
    ParkedSeen = "lookout.parked_seen",
    /// Rows that are parked no longer are seen.
    GoneSeen = "lookout.gone_seen",
    /// What was told before is read.
    ToldRead = "lookout.told_read",
    /// The difference is told and noted.
    ParkedTold = "lookout.told",

    PruneAsked = "prune.asked",
    PrunePrepared = "prune.prepared",
    Pruned = "prune.pruned",

    OperatorListed = "operator.listed",
    OperatorShown = "operator.shown",
    OperatorChecked = "operator.checked",
    OperatorBegun = "operator.begun",
    /// The letter or the row is locked, nothing else has happened.
    OperatorLocked = "operator.locked",
    OperatorConfirming = "operator.confirming",
    /// A letter is on its way back to its queue, no confirm is in.
    OperatorPublished = "operator.published",
    /// A letter is back in its queue, and not marked.
    OperatorConfirmed = "operator.confirmed",
    /// The letter or the row is changed, nothing is committed.
    OperatorChanged = "operator.changed",
    /// The act is recorded; unless the row is elsewhere, nothing is committed.
    OperatorRecorded = "operator.recorded",
    OperatorCommitted = "operator.committed",
    ReplayPrepared = "replay.prepared",
    /// Rows that were published are read.
    ReplayRead = "replay.read",
    /// Some of the rows are unprocessed again.
    ReplayUnprocessed = "replay.unprocessed",

    /// A component's connection to Postgres is there.
    HostConnected = "host.connected",
    /// A component's statement runs, or is done.
    HostQueried = "host.queried",
    /// The first row that it gives is here, or its end: it may be committed or not.
    HostFirstRow = "host.first_row",
    /// Connected to Redis for a component.
    HostRedisConnected = "host.redis_connected",
    /// Redis has answered a component.
    HostRedisAnswered = "host.redis_answered",
    /// Another component or server has answered a component.
    HostCalled = "host.called",
    /// A component has its answer, and whoever asked does not.
    HostAnswered = "host.answered",
}

static ARMED: AtomicBool = AtomicBool::new(false);
static TARGET: OnceLock<Target> = OnceLock::new();

struct Target {
    point: Point,
    left: AtomicU64,
}

/// Arms one point: `name`, or `name:count` to die when it is reached for the count-th time.
///
/// # Errors
/// If there is no such point, the count is not a positive number, or a point is armed already.
pub fn arm(text: &str) -> Result<(), String> {
    let (name, count) = text.split_once(':').unwrap_or((text, "1"));
    let point = Point::ALL.iter().find(|point| point.name() == name);
    let names = || Point::ALL.iter().map(|point| point.name()).collect::<Vec<_>>();
    let point = point.ok_or_else(|| format!("no crash point {name:?}; there are {}", names().join(", ")))?;
    let left = count.parse().ok().filter(|left| *left > 0);
    let left = AtomicU64::new(left.ok_or_else(|| format!("{count:?} is no count"))?);
    let point = *point;
    TARGET
        .set(Target { point, left })
        .map_err(|_| "a crash point is armed already".to_owned())?;
    ARMED.store(true, Ordering::Release);
    Ok(())
}

/// Kills the process here and now if this point is armed and its count is reached.
pub fn reached(point: Point) {
    if ARMED.load(Ordering::Relaxed) {
        fall(point);
    }
}

/// Awaits an answer from outside of the process, and has reached the point when it is there and good.
///
/// # Errors
/// Those of the answer.
pub async fn through<T, E>(point: Point, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let answer = answer.await;
    if answer.is_ok() {
        reached(point);
    }
    answer
}

#[cold]
fn fall(point: Point) {
    let Some(target) = TARGET.get().filter(|target| target.point == point) else {
        return;
    };
    if target.left.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    // SIGKILL cannot be caught: what happens next happens as after a real crash.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn only_a_point_that_exists_can_be_armed() {
        assert!(arm("relay.nowhere").unwrap_err().contains("relay.polled"));
        assert!(arm("relay.polled:0").is_err());
        assert!(arm("relay.polled:x").is_err());
    }

    #[test]
    fn no_two_points_have_the_same_name() {
        let names: HashSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
