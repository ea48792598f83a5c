//! A bridge's relay of one service: the loop of `relay::outbox`, step for step, around the real decisions of `window`,
//! `lease` and `floor`.

use crate::broker::Message;
use crate::database::{Poll, common, common_mut};
use crate::mutation::Mutation;
use crate::world::{Answer, Lost, MILLI, Micros, Process, SECOND, Service, Shop, Step, World};
use ::relay::outbox::floor::{Floor, Place, START, Slice, slice_rows};
use ::relay::outbox::lease::{Holding, Partitions, SESSION_TIMEOUT, Validity};
use ::relay::outbox::window::{Confirm, Failure, Row, Verdict, Window};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// How many windows may be under way at once, each on a channel of its own.
const WINDOWS: usize = 2;
/// How often a session says that it lives.
const HEARTBEAT: Micros = 2 * SECOND;
/// The pause between two polls while there is something that the last one has not found.
const POLL: Micros = 40 * MILLI;
const REOPEN: Micros = 100 * MILLI;
const BROKER_PAUSE: Micros = 250 * MILLI;

/// What was under way is unknown.
struct Trouble;

impl Lost for Trouble {
    fn lost() -> Self {
        Self
    }
}

/// What is on its way over a channel, and what came back.
#[derive(Default)]
struct Publishing {
    sent: VecDeque<Message>,
    confirms: Vec<Confirm>,
    count: usize,
}

enum Phase {
    /// Waits for all confirms.
    Publishing(Rc<RefCell<Publishing>>, Answer<Result<(), Trouble>>),
    /// Waits for `mark`, then `back_off`.
    Writing(Answer<Result<(), Trouble>>),
}

/// A window under way.
struct Underway {
    rows: Vec<(i64, u8)>,
    window: Window<Message>,
    failures: Vec<Failure>,
    unsent: VecDeque<Message>,
    phase: Phase,
}

/// Relays for as long as its process lives.
pub(crate) async fn run(world: Shop, bridge: usize, service: Service) {
    let process = Process::Bridge(bridge);
    loop {
        if let Ok(session) = open(&world, process, service).await {
            Term::new(&world, process, service, session).serve().await;
        }
        // With the connection goes the session, and with that its locks.
        let sessions = common(&world, service).outbox.sessions_of(process);
        world.do_later(Process::Nature, world.travel(), move |world| {
            for session in &sessions {
                common_mut(world, service).outbox.end_session(world, *session);
            }
            true
        });
        world.sleep(REOPEN).await;
    }
}

/// Opens the session whose locks are this relay's partitions. It says that it lives as long as its process does.
async fn open(world: &Shop, process: Process, service: Service) -> Result<usize, Trouble> {
    let (task, life) = (world.current(), world.deaths(process));
    world
        .ask(process, move |world| {
            if world.is_out() || world.deaths(process) != life {
                return Step::Done(Err(Trouble));
            }
            let mut common = common_mut(world, service);
            Step::Done(Ok(common.outbox.open_session(world, process, task)))
        })
        .await
}

type Polling = Answer<Result<(Vec<Row>, Slice), Trouble>>;

struct Term<'a> {
    world: &'a Shop,
    process: Process,
    service: Service,
    session: usize,
    holding: Holding,
    floor: Floor,
    windows: Vec<Underway>,
    polling: Option<Polling>,
    locking: Option<Answer<Result<Partitions, Trouble>>>,
    /// When to look again at who else relays.
    observe_at: Option<Micros>,
    seen_relays: u32,
    seen_others: Partitions,
    poll_at: Option<Micros>,
    last: i64,
    losses: u64,
}

impl<'a> Term<'a> {
    fn new(world: &'a Shop, process: Process, service: Service, session: usize) -> Self {
        let start = u8::try_from(world.below(64)).unwrap_or_default();
        let losses = Self::losses(world, process);
        Self {
            world,
            process,
            service,
            session,
            holding: Holding::new(start),
            floor: Floor::default(),
            windows: Vec::new(),
            polling: None,
            locking: None,
            observe_at: Some(world.now()),
            seen_relays: 0,
            seen_others: Partitions::NONE,
            poll_at: Some(world.now()),
            last: 0,
            losses,
        }
    }

    fn losses(world: &World, process: Process) -> u64 {
        match process {
            Process::Bridge(number) => world.broker.borrow().publisher_losses[number],
            _ => 0,
        }
    }

    /// Until something is lost.
    async fn serve(mut self) {
        loop {
            match self.turn() {
                Ok(true) => self.world.idle(Some(self.world.now())).await,
                Ok(false) => {
                    self.rest();
                    let until = [
                        self.observe_at,
                        self.poll_at.filter(|_| self.may_poll()),
                        self.next_due(),
                    ];
                    let until = until.into_iter().flatten().min();
                    self.world.idle(until).await;
                }
                Err(Trouble) => {
                    let service = self.service.name();
                    self.world.tell(self.process, |_| {
                        format!("loses its hold on the outbox of {service}")
                    });
                    return;
                }
            }
        }
    }

    /// Polls no more until there is something to find: a poll that finds nothing changes nothing.
    fn rest(&mut self) {
        let finds = common(self.world, self.service)
            .outbox
            .has_due(self.world, &self.poll(START));
        self.poll_at = match (finds, self.poll_at) {
            (true, None) => Some(self.world.now()),
            (true, at) => at,
            (false, _) => None,
        };
    }

    /// When a row falls due that is not yet.
    fn next_due(&self) -> Option<Micros> {
        let wall = self.world.wall();
        let due = common(self.world, self.service).outbox.next_due(wall)?;
        Some(self.world.now() + (due - wall))
    }

    fn may_poll(&self) -> bool {
        self.polling.is_none() && self.windows.len() < WINDOWS && self.holding.usable().count() > 0
    }

    fn busy(&self) -> Partitions {
        let rows = self.windows.iter().flat_map(|window| &window.rows);
        rows.fold(Partitions::NONE, |busy, (_, partition)| busy.with(*partition))
    }

    /// Does what can be done now. Gives whether that was anything.
    fn turn(&mut self) -> Result<bool, Trouble> {
        self.check_session()?;
        if Self::losses(self.world, self.process) != self.losses {
            return Err(Trouble);
        }
        let mut did = self.settle()?;
        if let Some(rows) = self.polling.as_ref().and_then(Answer::take) {
            self.polling = None;
            self.begin_window(rows?);
            did = true;
        }
        for position in (0..self.windows.len()).rev() {
            did |= self.carry(position)?;
        }
        if self.may_poll() && self.is_poll_due() {
            self.begin_poll();
            did = true;
        }
        Ok(did)
    }

    /// A heartbeat that fails says so. Until it is sent, a process that was paused knows of nothing.
    fn check_session(&self) -> Result<(), Trouble> {
        let is_there = common(self.world, self.service).outbox.has_session(self.session);
        if is_there || self.world.last_breath(self.process).is_some() {
            return Ok(());
        }
        Err(Trouble)
    }

    /// Whether the partitions are certainly ours still.
    fn holds(&self) -> bool {
        let breath = self
            .world
            .last_breath(self.process)
            .unwrap_or_else(|| self.world.now());
        Validity::after_statement(self.world.instant(breath)).holds(self.world.instant(self.world.now()))
    }

    // Leases.

    /// Takes what is missing and gives up what is too much, when a heartbeat has seen others come or go.
    fn settle(&mut self) -> Result<bool, Trouble> {
        let mut did = false;
        if let Some(taken) = self.locking.as_ref().and_then(Answer::take) {
            self.locking = None;
            let taken = taken?;
            self.world.tell(self.process, |_| {
                format!(
                    "relays {} more partitions of {}",
                    taken.count(),
                    self.service.name()
                )
            });
            self.holding.took(taken);
            self.poll_at = Some(self.world.now());
            did = true;
        }
        let surplus = self.holding.give_up(self.busy());
        if surplus.count() > 0 {
            let (service, number) = (self.service, self.session);
            self.world
                .do_later(self.process, self.world.below(MILLI), move |world| {
                    common_mut(world, service).outbox.release(world, number, surplus);
                    true
                });
            did = true;
        }
        let seen = common(self.world, self.service).outbox.observe(self.session);
        if self.observe_at.is_none() && (seen.relays, seen.others) != (self.seen_relays, self.seen_others) {
            self.observe_at = Some(self.world.now() + self.world.below(HEARTBEAT));
        }
        if self.locking.is_some() || self.observe_at.is_none_or(|at| at > self.world.now()) {
            return Ok(did);
        }
        self.observe_at = None;
        (self.seen_relays, self.seen_others) = (seen.relays, seen.others);
        let wanted = self.holding.observe(seen);
        if wanted.count() > 0 {
            let (service, number) = (self.service, self.session);
            self.locking = Some(self.world.ask(self.process, move |world| {
                let mut common = common_mut(world, service);
                if !common.outbox.has_session(number) {
                    return Step::Done(Err(Trouble));
                }
                Step::Done(Ok(common.outbox.take(world, number, wanted)))
            }));
        }
        Ok(true)
    }

    // Windows.

    fn is_poll_due(&self) -> bool {
        self.poll_at.is_some_and(|at| at <= self.world.now())
    }

    fn poll(&self, after: Place) -> Poll {
        let rows = self.windows.iter().flat_map(|window| &window.rows);
        let window = u32::try_from(self.world.terms.window).unwrap_or(u32::MAX);
        Poll {
            rows: slice_rows(window, self.holding.usable().count()) as usize,
            take: self.world.terms.window,
            partitions: self.holding.usable(),
            in_flight: rows.map(|(id, _)| *id).collect(),
            after,
            last: self.last,
        }
    }

    fn begin_poll(&mut self) {
        let after = self.floor.begin(self.world.instant(self.world.now()));
        let poll = self.poll(after);
        let service = self.service;
        self.poll_at = None;
        self.polling = Some(self.world.ask(self.process, move |world| {
            if world.is_out() {
                return Step::Done(Err(Trouble));
            }
            Step::Done(Ok(common(world, service).outbox.poll(world, &poll)))
        }));
    }

    fn begin_window(&mut self, (mut rows, slice): (Vec<Row>, Slice)) {
        let now = self.world.now();
        let more = self.floor.found(slice, self.world.instant(now));
        self.poll_at = Some(if more { now } else { now + POLL });
        let usable = self.holding.usable();
        rows.retain(|row| usable.contains(row.partition));
        if rows.is_empty() {
            return;
        }
        self.last = rows.iter().map(|row| row.id).fold(self.last, i64::max);
        let under_way = rows.iter().map(|row| (row.id, row.partition)).collect();
        let common = common(self.world, self.service);
        let encode = |row: &Row| {
            let (key, sent) = common.outbox.written.get(&row.id).ok_or("there is no such row")?;
            Ok(Message {
                service: self.service,
                row: row.id,
                key: *key,
                sent: sent.clone(),
            })
        };
        let (window, failures) = if self.world.breaks(Mutation::TwoRowsOfAKey) {
            for row in &mut rows {
                row.ordering_key = row.id.to_string();
            }
            Window::select(rows, encode)
        } else {
            Window::select(rows, encode)
        };
        drop(common);
        if window.messages().len() == 0 && failures.is_empty() {
            return;
        }
        let unsent: VecDeque<Message> = window.messages().cloned().collect();
        let publishing = Rc::new(RefCell::new(Publishing {
            count: unsent.len(),
            ..Publishing::default()
        }));
        let answer = self.publish(publishing.clone());
        if self.world.breaks(Mutation::MarkBeforeTheConfirm) {
            let ids: Vec<i64> = unsent.iter().map(|message| message.row).collect();
            self.write(ids, Vec::new());
        }
        self.windows.push(Underway {
            rows: under_way,
            window,
            failures,
            unsent,
            phase: Phase::Publishing(publishing, answer),
        });
    }

    /// A channel: the broker takes its messages in their order, one at a time.
    fn publish(&self, publishing: Rc<RefCell<Publishing>>) -> Answer<Result<(), Trouble>> {
        let (process, losses) = (self.process, self.losses);
        let (answer, reply) = self.world.slot();
        self.world.do_later(process, self.world.travel(), move |world| {
            if Term::losses(world, process) != losses {
                reply.give(world, Err(Trouble));
                return true;
            }
            if Rc::strong_count(&publishing) == 1 {
                // Nobody sends the rest.
                if publishing.borrow().sent.is_empty() {
                    return true;
                }
            }
            let mut channel = publishing.borrow_mut();
            if channel.confirms.len() == channel.count {
                reply.give(world, Ok(()));
                return true;
            }
            if let Some(message) = channel.sent.pop_front() {
                let confirm = world.broker.borrow_mut().publish(world, &message);
                channel.confirms.push(confirm);
            }
            false
        });
        answer
    }

    /// Takes a window a step further. Gives whether it could.
    fn carry(&mut self, position: usize) -> Result<bool, Trouble> {
        let holds = self.holds();
        let window = &mut self.windows[position];
        match &window.phase {
            Phase::Publishing(publishing, answer) => {
                if !window.unsent.is_empty() {
                    // Asked before each message.
                    if !holds {
                        return Err(Trouble);
                    }
                    let count = 1 + self.world.index(window.unsent.len());
                    let sent = window.unsent.drain(..count);
                    publishing.borrow_mut().sent.extend(sent);
                    return Ok(true);
                }
                let Some(answered) = answer.take() else {
                    return Ok(false);
                };
                answered?;
                let confirms = std::mem::take(&mut publishing.borrow_mut().confirms);
                self.judge(position, confirms)?;
                Ok(true)
            }
            Phase::Writing(answer) => {
                let Some(answered) = answer.take() else {
                    return Ok(false);
                };
                answered?;
                self.windows.remove(position);
                if self.poll_at.is_none() {
                    self.poll_at = Some(self.world.now());
                }
                Ok(true)
            }
        }
    }

    fn judge(&mut self, position: usize, confirms: Vec<Confirm>) -> Result<(), Trouble> {
        let confirms = self.carried_by_others(confirms);
        let window = &mut self.windows[position];
        let service = self.service.name();
        let verdict = if self.world.breaks(Mutation::ReturnWithTheWrongConfirm) {
            Some(judge_by_place(&window.window, &confirms))
        } else {
            window.window.judge(&confirms, |id| format!("{service}:{id}"))
        };
        let verdict = verdict.ok_or(Trouble)?;
        let mut failures = std::mem::take(&mut window.failures);
        failures.extend(verdict.failed);
        if !self.holds() {
            return Err(Trouble);
        }
        if !verdict.nacked.is_empty() {
            self.poll_at = Some(self.world.now() + BROKER_PAUSE);
        }
        let answer = self.write(verdict.published, failures);
        self.windows[position].phase = Phase::Writing(answer);
        Ok(())
    }

    /// A return comes with whichever confirm completes next.
    fn carried_by_others(&self, confirms: Vec<Confirm>) -> Vec<Confirm> {
        let mut carried: Vec<Confirm> = confirms
            .iter()
            .map(|confirm| Confirm {
                acked: confirm.acked,
                returned: None,
            })
            .collect();
        for returned in confirms.into_iter().filter_map(|confirm| confirm.returned) {
            let mut place = self.world.index(carried.len());
            while carried[place].returned.is_some() {
                place = (place + 1) % carried.len();
            }
            carried[place].returned = Some(returned);
        }
        carried
    }

    /// Marks what was published, and has what failed wait.
    fn write(&self, published: Vec<i64>, failures: Vec<Failure>) -> Answer<Result<(), Trouble>> {
        let (process, service) = (self.process, self.service);
        self.world.ask(process, move |world| {
            if world.is_out() {
                return Step::Done(Err(Trouble));
            }
            world.audit.borrow().mark(world, service, &published);
            world.tell(process, |_| {
                format!("marks rows {published:?} of {}", service.name())
            });
            let mut common = common_mut(world, service);
            common.outbox.mark(&published);
            common.outbox.back_off(world.wall(), &failures);
            common.outbox.wake_relays(world);
            Step::Done(Ok(()))
        })
    }
}

/// What a relay does that takes a return for that of the confirm which carried it.
fn judge_by_place(window: &Window<Message>, confirms: &[Confirm]) -> Verdict {
    let mut verdict = Verdict::default();
    for (message, confirm) in window.messages().zip(confirms) {
        match &confirm.returned {
            Some(returned) => verdict.failed.push(Failure {
                id: message.row,
                reason: returned.reason.clone(),
            }),
            None if confirm.acked => verdict.published.push(message.row),
            None => verdict.nacked.push(message.row),
        }
    }
    verdict
}

/// How long a server hears nothing before it ends a session.
pub(crate) fn session_timeout() -> Micros {
    u64::try_from(SESSION_TIMEOUT.as_micros()).unwrap_or(Micros::MAX)
}
