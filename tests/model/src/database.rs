//! What the database of every service has: statements that run at one moment and commit at another, row locks, an inbox,
//! and an outbox with what a relay asks of it. What is stored of flowers, orders, payments and shipments is in
//! `services`.

use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::world::{Answer, Micros, Process, SECOND, Service, Step, World};
use contracts::{Event, EventId, Received, Timestamp};
use relay::outbox::floor::{Place, Slice};
use relay::outbox::lease::{Observation, Partitions};
use relay::outbox::window::{Failure, Row as ToPublish};
use service::StoreError;
use service::trace::Traceparent;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use uuid::Uuid;

/// After how many attempts a row is parked, and how it waits until then: as `RelaySettings` has it.
const PARK_AFTER: u32 = 10;
const LONGEST_BACKOFF: Micros = 300 * SECOND;

/// An event on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) id: EventId,
    pub(crate) event: Event,
    pub(crate) trace: Traceparent,
    at: Timestamp,
}

impl Sent {
    /// As the service's events endpoint reads it.
    pub(crate) fn received(&self) -> Received {
        Received {
            id: self.id,
            traceparent: Some(self.trace.to_string()),
            occurred_at: Some(self.at),
            event: self.event.clone(),
        }
    }

    /// `OrderCreated of order 2`.
    pub(crate) fn name(&self, world: &World) -> String {
        format!("{} of {}", self.event.event_type(), about(world, &self.event))
    }
}

/// What an event is about, by the name that the story has for it.
fn about(world: &World, event: &Event) -> String {
    let order = |id: contracts::OrderId| world.name("order", id.as_uuid());
    match event {
        Event::OrderCreated(event) => order(event.order_id),
        Event::OrderCancelled(event) => order(event.order_id),
        Event::OrderPaid(event) => order(event.order_id),
        Event::OrderCompleted(event) => order(event.order_id),
        Event::PaymentDeadlinePassed(event) => order(event.order_id),
        Event::StockReserved(event) => order(event.order_id),
        Event::StockRejected(event) => order(event.order_id),
        Event::PaymentCompleted(event) => format!("{}, attempt {}", order(event.order_id), event.attempt),
        Event::PaymentFailed(event) => format!("{}, attempt {}", order(event.order_id), event.attempt),
        Event::PaymentRefunded(event) => format!("{}, attempt {}", order(event.order_id), event.attempt),
        Event::ChargeLookUpDue(event) => order(event.order_id),
        Event::ShipmentCreated(event) => order(event.order_id),
        Event::ShipmentDelivered(event) => order(event.order_id),
        Event::ShipmentFailed(event) => order(event.order_id),
        Event::DeliveryDue(event) => order(event.order_id),
        Event::EventDeadLettered(event) => order(event.order_id),
        Event::DeadLetterResolved(event) => order(event.order_id),
        Event::FlowerChanged(event) => world.name("flower", event.flower_id.as_uuid()),
        Event::BouquetChanged(event) => world.name("bouquet", event.bouquet_id.as_uuid()),
    }
}

/// What orders a row: its aggregate, or the timer of its aggregate that it is. As `OutboxRow` has it; a test holds the
/// two against each other.
pub(crate) type Key = (Uuid, Option<&'static str>);

/// The ordering key of a row.
pub(crate) fn key_of(event: &Event, is_timer: bool) -> Key {
    (event.aggregate_id(), is_timer.then(|| event.event_type()))
}

/// A row of `outbox_messages` that is neither processed nor parked.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) key: usize,
    due: Micros,
    attempts: u32,
    is_timer: bool,
    pub(crate) sent: Rc<Sent>,
}

/// A relay's session, whose locks are its partitions.
#[derive(Debug)]
struct Session {
    number: usize,
    process: Process,
    held: Partitions,
    /// The relay, which hears of others that come and go.
    task: usize,
}

/// What one poll asks for.
pub(crate) struct Poll {
    /// The most to look at.
    pub(crate) rows: usize,
    /// The most to take of these.
    pub(crate) take: usize,
    pub(crate) partitions: Partitions,
    pub(crate) in_flight: Vec<i64>,
    pub(crate) after: Place,
    /// The highest id that the relay has seen: only a rule that is broken asks for it.
    pub(crate) last: i64,
}

impl Poll {
    fn is_ours(&self, row: &Row) -> bool {
        self.partitions.contains(Outbox::partition(row.key))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) waiting: BTreeMap<i64, Row>,
    /// All rows that ever were, with the numbers of their keys.
    pub(crate) written: BTreeMap<i64, (usize, Rc<Sent>)>,
    keys: Vec<Key>,
    last_id: i64,
    sessions: Vec<Session>,
    next_session: usize,
    pub(crate) parked: usize,
}

impl Outbox {
    fn key(&mut self, key: Key) -> usize {
        match self.keys.iter().position(|known| *known == key) {
            Some(position) => position,
            None => {
                self.keys.push(key);
                self.keys.len() - 1
            }
        }
    }

    /// Spread over all, and not by a hash of a random id.
    fn partition(key: usize) -> u8 {
        u8::try_from(key * 37 % 64).unwrap_or_default()
    }

    /// As `poll.sql` does it.
    pub(crate) fn poll(&self, world: &World, poll: &Poll) -> (Vec<ToPublish>, Slice) {
        let now = world.wall();
        let after = (World::wall_of_system_time(poll.after.0), poll.after.1);
        let due = self.waiting.iter().filter(|(_, row)| row.due <= now);
        let mut slice: Vec<(Micros, i64, &Row)> = due.map(|(id, row)| (row.due, *id, row)).collect();
        slice.retain(|(due, id, _)| (*due, *id) > after);
        slice.sort_by_key(|(due, id, _)| (*due, *id));
        slice.truncate(poll.rows);
        let waiting = |id: i64, row: &Row| !poll.in_flight.contains(&id) && poll.is_ours(row);
        let waiting = slice.iter().filter(|(_, id, row)| waiting(*id, row));
        let skipped = waiting.clone().count();
        let taken: Vec<ToPublish> = waiting
            .filter(|(_, id, row)| self.may_go(world, poll, *id, row))
            .take(poll.take)
            .map(|(_, id, row)| Self::to_publish(*id, row))
            .collect();
        let place = |(due, id, _): &(Micros, i64, &Row)| (World::system_time(*due), *id);
        let looked_at = Slice {
            first: slice.first().map(place),
            last: slice.last().map(place),
            full: slice.len() >= poll.rows,
            skipped: skipped > taken.len(),
            taken: taken.len(),
        };
        (taken, looked_at)
    }

    /// Whether there is a row that a poll would find, wherever it begins.
    pub(crate) fn has_due(&self, world: &World, poll: &Poll) -> bool {
        let now = world.wall();
        let mut due = self.waiting.iter().filter(|(_, row)| row.due <= now);
        due.any(|(id, row)| {
            !poll.in_flight.contains(id) && poll.is_ours(row) && self.may_go(world, poll, *id, row)
        })
    }

    /// What waits, in the order of the ids: with its key, and when it is due if it is a timer.
    pub(crate) fn told(&self) -> impl Iterator<Item = (Key, Option<Micros>, &Sent)> {
        self.waiting.values().map(|row| {
            let due = row.is_timer.then_some(row.due);
            (self.keys[row.key], due, &*row.sent)
        })
    }

    fn may_go(&self, world: &World, poll: &Poll, id: i64, row: &Row) -> bool {
        let is_first = self.first_of(row.key) == Some(id) || world.breaks(Mutation::TwoRowsOfAKey);
        is_first && (id > poll.last || !world.breaks(Mutation::SkipToTheLast))
    }

    fn first_of(&self, key: usize) -> Option<i64> {
        self.waiting
            .iter()
            .find(|(_, row)| row.key == key)
            .map(|(id, _)| *id)
    }

    fn to_publish(id: i64, row: &Row) -> ToPublish {
        ToPublish {
            id,
            due_at: World::system_time(row.due),
            event_type: String::new(),
            routing_key: String::new(),
            ordering_key: row.key.to_string(),
            partition: Self::partition(row.key),
            body: None,
            headers: String::new(),
        }
    }

    /// As `mark.sql` does it.
    pub(crate) fn mark(&mut self, ids: &[i64]) {
        self.waiting.retain(|id, _| !ids.contains(id));
    }

    /// As `back_off.sql` does it.
    pub(crate) fn back_off(&mut self, now: Micros, failures: &[Failure]) {
        for failure in failures {
            let Some(row) = self.waiting.get_mut(&failure.id) else {
                continue;
            };
            row.due = now + (SECOND << row.attempts.min(30)).min(LONGEST_BACKOFF);
            row.attempts += 1;
            let (due, key) = (row.due, row.key);
            if row.attempts >= PARK_AFTER {
                self.waiting.remove(&failure.id);
                self.parked += 1;
                continue;
            }
            for (_, later) in self.waiting.range_mut(failure.id + 1..) {
                if later.key == key && later.due < due {
                    later.due = due;
                }
            }
        }
    }

    /// When something falls due that is not due yet.
    pub(crate) fn next_due(&self, now: Micros) -> Option<Micros> {
        let later = self.waiting.values().filter(|row| row.due > now);
        later.map(|row| row.due).min()
    }

    /// Whether a row waits behind a timer that is not due: what is told would be told too late.
    fn waits_for_a_timer(&self, key: usize, now: Micros) -> bool {
        let mut of_key = self.waiting.values().filter(|row| row.key == key);
        let first = of_key.next();
        first.is_some_and(|first| first.is_timer && first.attempts == 0 && first.due > now)
            && of_key.next().is_some()
    }

    // Leases.

    /// Opens a session for the relay that asks.
    pub(crate) fn open_session(&mut self, world: &World, process: Process, task: usize) -> usize {
        let number = self.next_session;
        self.next_session += 1;
        self.sessions.push(Session {
            number,
            process,
            held: Partitions::NONE,
            task,
        });
        self.wake_relays(world);
        number
    }

    /// Ends a session, and with it its locks.
    pub(crate) fn end_session(&mut self, world: &World, number: usize) {
        self.sessions.retain(|session| session.number != number);
        self.wake_relays(world);
    }

    /// The sessions of this process.
    pub(crate) fn sessions_of(&self, process: Process) -> Vec<usize> {
        let sessions = self.sessions.iter().filter(|session| session.process == process);
        sessions.map(|session| session.number).collect()
    }

    pub(crate) fn has_session(&self, number: usize) -> bool {
        self.sessions.iter().any(|session| session.number == number)
    }

    /// As `observe.sql` does it.
    pub(crate) fn observe(&self, number: usize) -> Observation {
        let others = self.sessions.iter().filter(|session| session.number != number);
        Observation {
            others: others.fold(Partitions::NONE, |all, other| all.with_all(other.held)),
            relays: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
        }
    }

    /// As `take.sql` does it.
    pub(crate) fn take(&mut self, world: &World, number: usize, wanted: Partitions) -> Partitions {
        let others = self.observe(number).others;
        let taken = wanted.without(others);
        if let Some(session) = self.sessions.iter_mut().find(|session| session.number == number) {
            session.held = session.held.with_all(taken);
        }
        self.wake_relays(world);
        taken
    }

    /// As `release.sql` does it.
    pub(crate) fn release(&mut self, world: &World, number: usize, surplus: Partitions) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.number == number) {
            session.held = session.held.without(surplus);
        }
        self.wake_relays(world);
    }

    /// Something was written, or a relay came or went.
    pub(crate) fn wake_relays(&self, world: &World) {
        for session in &self.sessions {
            world.wake(session.task);
        }
    }
}

/// Rows that a statement holds on to.
#[derive(Debug, Default)]
struct Locks(Rc<RefCell<Vec<Uuid>>>);

struct Held {
    locks: Rc<RefCell<Vec<Uuid>>>,
    ids: Vec<Uuid>,
}

impl Locks {
    /// All of them, or none.
    fn take(&self, ids: &[Uuid]) -> Option<Held> {
        let mut locks = self.0.borrow_mut();
        if ids.iter().any(|id| locks.contains(id)) {
            return None;
        }
        locks.extend(ids);
        Some(Held {
            locks: self.0.clone(),
            ids: ids.to_vec(),
        })
    }

    fn are_taken(&self, id: Uuid) -> bool {
        self.0.borrow().contains(&id)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.borrow_mut().retain(|id| !self.ids.contains(id));
    }
}

/// What the tables of all services have.
#[derive(Debug, Default)]
pub(crate) struct Common {
    inbox: HashSet<EventId>,
    pub(crate) outbox: Outbox,
    locks: Locks,
}

impl Common {
    /// All that were handled.
    pub(crate) fn handled(&self) -> impl Iterator<Item = EventId> {
        self.inbox.iter().copied()
    }

    /// Which of `events` were handled before.
    pub(crate) fn known(&self, world: &World, events: &[EventId]) -> Vec<EventId> {
        let is_known = |id: &&EventId| self.knows(world, **id);
        events.iter().filter(is_known).copied().collect()
    }

    fn knows(&self, world: &World, id: EventId) -> bool {
        self.inbox.contains(&id) && !world.breaks(Mutation::ForgetTheInbox)
    }

    /// The primary key of the inbox.
    pub(crate) fn check_new<'a>(
        &self,
        world: &World,
        events: impl IntoIterator<Item = &'a EventId>,
    ) -> Result<(), StoreError> {
        if events.into_iter().any(|id| self.knows(world, *id)) {
            return Err(StoreError::Constraint("inbox_pkey".to_owned()));
        }
        Ok(())
    }

    /// Notes events whose effect is stored by the same statement.
    pub(crate) fn handle(&mut self, world: &World, service: Service, events: &[EventId]) {
        for id in events {
            self.inbox.insert(*id);
            world.audit.borrow_mut().effect(world, service, *id);
        }
    }

    /// What a statement does that notes events beside its gate.
    pub(crate) fn handle_without_effect(&mut self, world: &World, service: Service, events: &[EventId]) {
        if world.breaks(Mutation::InboxBesideTheGate) {
            self.inbox.extend(events);
            world.audit.borrow().check_inbox(world, service, self.inbox.len());
        }
    }
}

/// The database of this service.
pub(crate) fn common(world: &World, service: Service) -> Ref<'_, Common> {
    match service {
        Service::Catalog => Ref::map(world.catalog.borrow(), |database| &database.common),
        Service::Ordering => Ref::map(world.ordering.borrow(), |database| &database.common),
        Service::Payment => Ref::map(world.payment.borrow(), |database| &database.common),
        Service::Delivery => Ref::map(world.delivery.borrow(), |database| &database.common),
    }
}

pub(crate) fn common_mut(world: &World, service: Service) -> RefMut<'_, Common> {
    match service {
        Service::Catalog => RefMut::map(world.catalog.borrow_mut(), |database| &mut database.common),
        Service::Ordering => RefMut::map(world.ordering.borrow_mut(), |database| &mut database.common),
        Service::Payment => RefMut::map(world.payment.borrow_mut(), |database| &mut database.common),
        Service::Delivery => RefMut::map(world.delivery.borrow_mut(), |database| &mut database.common),
    }
}

/// What a statement that writes has drawn before it commits: ids for its messages, and the time.
pub(crate) struct Transaction {
    next_id: i64,
    /// `now()`, by the database's clock.
    pub(crate) now: Micros,
}

impl Transaction {
    /// Adds a row to the outbox.
    pub(crate) fn tell(
        &mut self,
        world: &World,
        service: Service,
        common: &mut Common,
        event: &Event,
        due_at: Option<Timestamp>,
        trace: &Traceparent,
    ) {
        let is_timer = due_at.is_some();
        let key = key_of(
            event,
            is_timer && !world.breaks(Mutation::TimersInTheAggregatesKey),
        );
        let key = common.outbox.key(key);
        let due = due_at.map_or(self.now, |due_at| world.wall_of(due_at));
        let id = self.next_id;
        self.next_id += 1;
        let sent = Rc::new(Sent {
            id: EventId::new(),
            event: event.clone(),
            trace: trace.clone(),
            at: world.timestamp(self.now),
        });
        world.tell(Process::Component(service), |world| {
            format!("commits {} as row {id}", sent.name(world))
        });
        common.outbox.written.insert(id, (key, sent.clone()));
        let row = Row {
            key,
            due,
            attempts: 0,
            is_timer,
            sent,
        };
        common.outbox.waiting.insert(id, row);
        if common.outbox.waits_for_a_timer(key, world.wall()) {
            world.violate(Invariant::NothingWaitsForATimer, |_| {
                format!("a row of {} waits for a timer of its aggregate", service.name())
            });
        }
        common.outbox.wake_relays(world);
    }
}

fn outage() -> StoreError {
    StoreError::Unavailable("the database is down".to_owned())
}

/// Runs a statement that reads, at one moment.
pub(crate) fn read<T: 'static>(
    world: &World,
    service: Service,
    statement: impl Fn(&World) -> Result<T, StoreError> + 'static,
) -> Answer<Result<T, StoreError>> {
    world.ask(Process::Component(service), move |world| {
        if world.is_out() {
            return Step::Done(Err(outage()));
        }
        Step::Done(statement(world))
    })
}

/// Holds the next transaction open that has its locks: it turns to true then, and back when that is to commit.
pub(crate) type Latch = Rc<Cell<bool>>;

/// What a statement that writes locks, and how many rows it may add to the outbox.
pub(crate) struct Writes {
    pub(crate) locks: Vec<Uuid>,
    /// The key of a request: another statement that holds it refuses this one at once.
    pub(crate) try_lock: Option<Uuid>,
    pub(crate) rows: usize,
}

/// Runs a statement that writes. It waits for its locks, draws the ids of its messages, and commits, now or a while
/// later: what it decides is decided under its locks, and seen by others only once it is committed. `in_flight` is the
/// answer if `try_lock` is taken. One that finds a latch stays open until that is let go.
pub(crate) fn write<T: 'static>(
    world: &World,
    service: Service,
    writes: Writes,
    in_flight: impl Fn(&World) -> Result<T, StoreError> + 'static,
    statement: impl Fn(&World, &mut Transaction) -> Result<T, StoreError> + 'static,
) -> Answer<Result<T, StoreError>> {
    let mut open: Option<(Held, Transaction)> = None;
    let mut latch: Option<Latch> = None;
    let mut locks = writes.locks;
    let is_in_the_way = world.befalls(world.terms.contention);
    world.ask(Process::Component(service), move |world| {
        if world.is_out() {
            open = None;
            return Step::Done(Err(outage()));
        }
        if is_in_the_way {
            return Step::Done(Err(StoreError::Contention));
        }
        if latch.as_ref().is_some_and(|latch| latch.get()) {
            return Step::Later;
        }
        let (held, mut transaction) = match open.take() {
            Some(open) => open,
            None => {
                let mut common = common_mut(world, service);
                if let Some(key) = writes.try_lock {
                    if common.locks.are_taken(key) {
                        drop(common);
                        return Step::Done(in_flight(world));
                    }
                    if !locks.contains(&key) {
                        locks.push(key);
                    }
                }
                let Some(held) = common.locks.take(&locks) else {
                    return Step::Later;
                };
                let next_id = common.outbox.last_id + 1;
                common.outbox.last_id += i64::try_from(writes.rows).unwrap_or_default();
                let now = world.wall();
                let transaction = Transaction { next_id, now };
                drop(common);
                if let Some(found) = world.latch.take() {
                    found.set(true);
                    latch = Some(found);
                    open = Some((held, transaction));
                    return Step::Later;
                }
                if world.happens(250) {
                    open = Some((held, transaction));
                    return Step::Later;
                }
                (held, transaction)
            }
        };
        let answer = statement(world, &mut transaction);
        drop(held);
        Step::Done(answer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{OrderCompleted, OrderId, PaymentDeadlinePassed};
    use service::outbox::OutboxRow;

    #[test]
    fn rows_are_ordered_by_the_keys_that_the_services_write() {
        let order_id = OrderId::new();
        let (now, trace) = (Timestamp::now(), Traceparent::random());
        let told: Event = OrderCompleted { order_id }.into();
        let timer: Event = PaymentDeadlinePassed { order_id }.into();
        let written = |row: OutboxRow| {
            let row = serde_json::to_value(row).unwrap();
            row["ordering_key"].as_str().unwrap().to_owned()
        };
        let told_key = written(OutboxRow::new(&told, now, &trace).unwrap());
        let timer_key = written(OutboxRow::timer(&timer, now, now, &trace).unwrap());
        assert_eq!(key_of(&told, false), (told_key.parse().unwrap(), None));
        let (aggregate, name) = key_of(&timer, true);
        assert_eq!(timer_key, format!("{aggregate}:{}", name.unwrap()));
    }
}
