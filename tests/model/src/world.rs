//! The one thread in which everything happens: its clock, its dice, the tasks that run in it, the calls that are under
//! way between them, and the processes that may die at any moment.
//!
//! A *task* is a future: a request, a batch, a relay, a shuttle. It runs until it waits for something; then the dice
//! decide who goes on. A *call* is what a task asks of a database, the provider or the broker. It travels, has its effect
//! at one moment, and its answer travels back: each may take its time, and the caller may be dead by then. So between
//! any two steps of a task there is room for all the others, and for a crash.

use crate::database::Latch;
use crate::invariants::{Audit, Invariant, Violation};
use crate::mutation::Mutation;
use crate::plan::Terms;
use crate::services::{catalog, delivery, ordering, payment};
use crate::{broker, provider};
use contracts::{Timestamp, simulation};
use service::StoreError;
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

/// Microseconds since the story began.
pub(crate) type Micros = u64;

pub(crate) const MILLI: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;
/// How long an idempotency key is known.
pub(crate) const DAY: Micros = 86_400 * SECOND;

/// How long a component gives a request, as `service::router` has it.
const DEADLINE: Micros = 8 * SECOND;

/// Whoever publishes: the four services with an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    Catalog,
    Ordering,
    Payment,
    Delivery,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Catalog, Self::Ordering, Self::Payment, Self::Delivery];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Ordering => "ordering",
            Self::Payment => "payment",
            Self::Delivery => "delivery",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// What lives and dies together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Process {
    /// The instances of one component.
    Component(Service),
    /// A host-bridge, by its number.
    Bridge(usize),
    /// The clients, couriers and admins. They never die.
    Clients,
    /// What happens by itself.
    Nature,
}

impl Process {
    const COUNT: usize = 8;

    fn index(self) -> usize {
        match self {
            Self::Component(service) => service.index(),
            Self::Bridge(number) => 4 + number,
            Self::Clients => 6,
            Self::Nature => 7,
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Component(service) => service.name().to_owned(),
            Self::Bridge(number) => format!("bridge {}", number + 1),
            Self::Clients => "clients".to_owned(),
            Self::Nature => "nature".to_owned(),
        }
    }
}

/// How a process is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health {
    pub(crate) is_up: bool,
    /// It is stopped, and does not know it.
    pub(crate) paused_until: Micros,
    /// When it last told a database that it lives, if it was paused since.
    pub(crate) last_breath: Option<Micros>,
    /// How often it has died.
    deaths: u64,
}

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) struct Task {
    process: Process,
    future: TaskFuture,
    /// When it is given up, if it is a request.
    deadline: Option<Micros>,
    state: State,
    number: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ready,
    /// Until it is woken, or then.
    Waiting(Option<Micros>),
}

/// What becomes of a call at one of its steps.
pub(crate) enum Step<T> {
    Done(T),
    /// It goes on later: something is locked, or it has another step.
    Later,
}

struct Call {
    process: Process,
    at: Micros,
    run: Box<dyn FnMut(&World) -> bool>,
}

struct SlotInner<T> {
    value: RefCell<Option<T>>,
    task: usize,
}

/// The answer to a call, once it is there.
pub(crate) struct Answer<T>(Rc<SlotInner<T>>);

impl<T> Answer<T> {
    /// The answer, if it has come.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.value.borrow_mut().take()
    }
}

impl<T> Future for Answer<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Where an answer is to go.
pub(crate) struct Reply<T>(Rc<SlotInner<T>>);

impl<T> Reply<T> {
    pub(crate) fn give(&self, world: &World, value: T) {
        *self.0.value.borrow_mut() = Some(value);
        world.wake(self.0.task);
    }
}

/// What is wrong with a call whose answer is lost.
pub(crate) trait Lost {
    fn lost() -> Self;
}

impl Lost for StoreError {
    fn lost() -> Self {
        Self::Unavailable("the model lost the answer".to_owned())
    }
}

/// Names for ids, in the order in which they came up: a story must not depend on random numbers.
#[derive(Default)]
pub(crate) struct Names {
    known: Vec<(Uuid, &'static str, usize)>,
}

/// See the module.
pub(crate) struct World {
    random: RefCell<fastrand::Rng>,
    now: Cell<Micros>,
    /// By how much the clocks on the wall were set forward.
    wall_offset: Cell<Micros>,
    start: Instant,
    epoch: Timestamp,
    tasks: RefCell<Vec<Task>>,
    next_task: Cell<usize>,
    current: Cell<usize>,
    /// Until when the task that is being polled wants to sleep at most.
    until: Cell<Option<Micros>>,
    /// Whether it wants to go on as soon as it may.
    again: Cell<bool>,
    woken: RefCell<Vec<usize>>,
    spawned: RefCell<Vec<Task>>,
    calls: RefCell<Vec<Call>>,
    new_calls: RefCell<Vec<Call>>,
    health: RefCell<[Health; Process::COUNT]>,
    out_until: Cell<Micros>,
    pub(crate) steps: Cell<u64>,
    story: Option<RefCell<Vec<String>>>,
    names: RefCell<Names>,
    violation: RefCell<Option<Violation>>,
    /// Whether faults have stopped.
    pub(crate) is_calm: Cell<bool>,
    pub(crate) terms: Terms,
    pub(crate) mutation: Option<Mutation>,
    /// For the next transaction.
    pub(crate) latch: Cell<Option<Latch>>,
    pub(crate) audit: RefCell<Audit>,
    pub(crate) catalog: RefCell<catalog::Database>,
    pub(crate) ordering: RefCell<ordering::Database>,
    pub(crate) payment: RefCell<payment::Database>,
    pub(crate) delivery: RefCell<delivery::Database>,
    pub(crate) provider: RefCell<provider::Ledger>,
    pub(crate) broker: RefCell<broker::Broker>,
}

pub(crate) type Shop = Rc<World>;

impl World {
    pub(crate) fn new(dice: u64, terms: Terms, mutation: Option<Mutation>, tells: bool) -> Shop {
        let start = Instant::now();
        // When every story begins.
        let epoch = "2026-01-01T00:00:00Z"
            .parse()
            .unwrap_or_else(|_| Timestamp::now());
        Rc::new(Self {
            random: RefCell::new(fastrand::Rng::with_seed(dice)),
            now: Cell::new(SECOND),
            wall_offset: Cell::new(0),
            start,
            epoch,
            tasks: RefCell::default(),
            next_task: Cell::new(0),
            current: Cell::new(usize::MAX),
            until: Cell::new(None),
            again: Cell::new(false),
            woken: RefCell::default(),
            spawned: RefCell::default(),
            calls: RefCell::default(),
            new_calls: RefCell::default(),
            health: RefCell::new(
                [Health {
                    is_up: true,
                    paused_until: 0,
                    last_breath: None,
                    deaths: 0,
                }; Process::COUNT],
            ),
            out_until: Cell::new(0),
            steps: Cell::new(0),
            story: tells.then(RefCell::default),
            names: RefCell::default(),
            violation: RefCell::new(None),
            is_calm: Cell::new(false),
            terms,
            mutation,
            latch: Cell::new(None),
            audit: RefCell::default(),
            catalog: RefCell::default(),
            ordering: RefCell::default(),
            payment: RefCell::default(),
            delivery: RefCell::default(),
            provider: RefCell::default(),
            broker: RefCell::new(broker::Broker::new()),
        })
    }

    // Dice.

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        self.random.borrow_mut().u64(0..bound)
    }

    pub(crate) fn index(&self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or_default()
    }

    /// Whether something happens that happens so often in a thousand times.
    pub(crate) fn happens(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// As [`Self::happens`], but no longer once faults have stopped.
    pub(crate) fn befalls(&self, per_mille: u64) -> bool {
        per_mille > 0 && !self.is_calm.get() && self.happens(per_mille)
    }

    // Time.

    pub(crate) fn now(&self) -> Micros {
        self.now.get()
    }

    /// The clock on the wall, which services and databases read.
    pub(crate) fn wall(&self) -> Micros {
        self.now.get() + self.wall_offset.get()
    }

    pub(crate) fn timestamp(&self, wall: Micros) -> Timestamp {
        self.epoch.plus(Duration::from_micros(wall))
    }

    /// What the wall showed, or will, at this time.
    pub(crate) fn wall_of(&self, time: Timestamp) -> Micros {
        let micros = |time: Timestamp| time.naive().and_utc().timestamp_micros();
        u64::try_from(micros(time) - micros(self.epoch)).unwrap_or_default()
    }

    pub(crate) fn instant(&self, now: Micros) -> Instant {
        self.start + Duration::from_micros(now)
    }

    /// The other way round.
    pub(crate) fn micros(&self, instant: Instant) -> Micros {
        let since = instant.saturating_duration_since(self.start);
        u64::try_from(since.as_micros()).unwrap_or(Micros::MAX)
    }

    pub(crate) fn system_time(wall: Micros) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(wall)
    }

    pub(crate) fn wall_of_system_time(time: SystemTime) -> Micros {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or_default()
    }

    /// All clocks on the wall are set forward.
    pub(crate) fn set_walls_forward(&self, by: Micros) {
        self.wall_offset.set(self.wall_offset.get() + by);
        self.set_clock();
    }

    /// Time passes for all, and nobody does anything.
    pub(crate) fn pass(&self, time: Micros) {
        self.now.set(self.now.get() + time);
        self.set_clock();
    }

    fn set_clock(&self) {
        simulation::set_clock(Some(self.timestamp(self.wall())));
    }

    // The story.

    /// One line of the story.
    pub(crate) fn tell(&self, who: Process, what: impl FnOnce(&Self) -> String) {
        let Some(story) = &self.story else { return };
        let mut line = String::new();
        let wall = self.wall();
        let _ = write!(
            line,
            "{:>4}.{:03} {:9} {}",
            wall / SECOND,
            wall % SECOND / MILLI,
            who.name(),
            what(self)
        );
        story.borrow_mut().push(line);
    }

    pub(crate) fn story(&self) -> Vec<String> {
        self.story
            .as_ref()
            .map(|story| story.borrow().clone())
            .unwrap_or_default()
    }

    /// `order 2`: the second order that there was.
    pub(crate) fn name(&self, kind: &'static str, id: Uuid) -> String {
        let mut names = self.names.borrow_mut();
        if let Some((_, kind, number)) = names.known.iter().find(|(known, ..)| *known == id) {
            return format!("{kind} {number}");
        }
        let number = 1 + names.known.iter().filter(|(_, other, _)| *other == kind).count();
        names.known.push((id, kind, number));
        format!("{kind} {number}")
    }

    // Rules.

    pub(crate) fn violate(&self, invariant: Invariant, what: impl FnOnce(&Self) -> String) {
        let mut violation = self.violation.borrow_mut();
        if violation.is_none() {
            let what = what(self);
            *violation = Some(Violation { invariant, what });
        }
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.violation.borrow().is_some()
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.borrow().clone()
    }

    pub(crate) fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    // Processes.

    pub(crate) fn is_up(&self, process: Process) -> bool {
        self.health.borrow()[process.index()].is_up
    }

    pub(crate) fn is_paused(&self, process: Process) -> bool {
        self.health.borrow()[process.index()].paused_until > self.now()
    }

    /// Stops a process for so long. It does not notice.
    pub(crate) fn pause(&self, process: Process, time: Micros) {
        let breath = self.now().saturating_sub(self.below(2 * SECOND));
        let health = &mut self.health.borrow_mut()[process.index()];
        health.paused_until = self.now() + time;
        health.last_breath = Some(health.last_breath.unwrap_or(breath));
    }

    /// When a process last told a database that it lives, if it was paused since and has not done so again.
    pub(crate) fn last_breath(&self, process: Process) -> Option<Micros> {
        self.health.borrow()[process.index()].last_breath
    }

    /// It tells them again.
    pub(crate) fn breathe(&self, process: Process) {
        self.health.borrow_mut()[process.index()].last_breath = None;
        for task in self
            .tasks
            .borrow_mut()
            .iter_mut()
            .filter(|task| task.process == process)
        {
            task.state = State::Ready;
        }
    }

    /// How often a process has died: what it asked for in an earlier life needs no connection any more.
    pub(crate) fn deaths(&self, process: Process) -> u64 {
        self.health.borrow()[process.index()].deaths
    }

    /// Whether the databases are down.
    pub(crate) fn is_out(&self) -> bool {
        self.out_until.get() > self.now()
    }

    pub(crate) fn put_out(&self, time: Micros) {
        self.out_until.set(self.now() + time);
    }

    pub(crate) fn start(&self, process: Process) {
        let health = &mut self.health.borrow_mut()[process.index()];
        *health = Health {
            is_up: true,
            paused_until: 0,
            last_breath: None,
            deaths: health.deaths,
        };
    }

    /// Ends a process between two of its steps: its tasks are gone, and what it has asked for and nobody has done yet is
    /// done all the same, or never.
    pub(crate) fn kill(&self, process: Process) {
        {
            let health = &mut self.health.borrow_mut()[process.index()];
            health.is_up = false;
            health.deaths += 1;
        }
        let mut dead = Vec::new();
        self.tasks.borrow_mut().append(&mut self.spawned.borrow_mut());
        self.tasks.borrow_mut().retain_mut(|task| {
            let stays = task.process != process;
            if !stays {
                let nothing: TaskFuture = Box::pin(std::future::ready(()));
                dead.push(std::mem::replace(&mut task.future, nothing));
            }
            stays
        });
        drop(dead);
        let mut calls = std::mem::take(&mut *self.calls.borrow_mut());
        calls.retain(|call| call.process != process || self.happens(500));
        let mut now = self.calls.borrow_mut();
        calls.append(&mut now);
        *now = calls;
    }

    // Tasks.

    /// Begins a task of this process, which must be up.
    pub(crate) fn spawn(&self, process: Process, future: impl Future<Output = ()> + 'static) {
        self.begin(process, None, Box::pin(future));
    }

    /// Begins a request, which is given up when it takes too long. What is replied is `failed` if it ends without an
    /// answer of its own.
    pub(crate) fn serve<T: 'static>(
        self: &Rc<Self>,
        process: Process,
        reply: Reply<T>,
        failed: T,
        work: impl Future<Output = T> + 'static,
    ) {
        let mut ending = Ending {
            world: self.clone(),
            reply,
            failed: Some(failed),
        };
        let deadline = self.now() + DEADLINE;
        let future = Box::pin(async move {
            let value = work.await;
            ending.failed = None;
            ending.reply.give(&ending.world, value);
        });
        self.begin(process, Some(deadline), future);
    }

    fn begin(&self, process: Process, deadline: Option<Micros>, future: TaskFuture) {
        let number = self.next_task.get();
        self.next_task.set(number + 1);
        self.spawned.borrow_mut().push(Task {
            process,
            future,
            deadline,
            state: State::Ready,
            number,
        });
    }

    /// A place for an answer that the current task waits for.
    pub(crate) fn slot<T>(&self) -> (Answer<T>, Reply<T>) {
        let inner = Rc::new(SlotInner {
            value: RefCell::new(None),
            task: self.current.get(),
        });
        (Answer(inner.clone()), Reply(inner))
    }

    pub(crate) fn current(&self) -> usize {
        self.current.get()
    }

    pub(crate) fn wake(&self, task: usize) {
        self.woken.borrow_mut().push(task);
    }

    /// Sleeps until the current task is woken, or until then at the latest.
    pub(crate) fn idle(&self, until: Option<Micros>) -> Idle<'_> {
        Idle {
            world: self,
            until,
            asleep: false,
        }
    }

    /// Sleeps so long.
    pub(crate) async fn sleep(&self, time: Micros) {
        let until = self.now() + time;
        while self.now() < until {
            self.idle(Some(until)).await;
        }
    }

    // Calls.

    /// How long a message travels: not long, most of the time.
    pub(crate) fn travel(&self) -> Micros {
        if self.befalls(self.terms.slow) {
            self.below(400 * MILLI)
        } else if self.befalls(self.terms.slow / 10) {
            self.below(5 * SECOND)
        } else {
            self.below(2 * MILLI)
        }
    }

    /// Asks for something that may get lost on its way there or back.
    pub(crate) fn ask<T: 'static, E: Lost + 'static>(
        &self,
        process: Process,
        mut work: impl FnMut(&World) -> Step<Result<T, E>> + 'static,
    ) -> Answer<Result<T, E>> {
        let (answer, reply) = self.slot();
        let lost = self.befalls(self.terms.lost_calls);
        let unanswered = self.befalls(self.terms.lost_answers);
        self.do_later(process, self.travel(), move |world| {
            let value = if lost {
                Err(E::lost())
            } else {
                match work(world) {
                    Step::Done(_) if unanswered => Err(E::lost()),
                    Step::Done(value) => value,
                    Step::Later => return false,
                }
            };
            reply.give(world, value);
            true
        });
        answer
    }

    /// Does something after a while, again and again until it says that it is done.
    pub(crate) fn do_later(
        &self,
        process: Process,
        delay: Micros,
        run: impl FnMut(&World) -> bool + 'static,
    ) {
        self.new_calls.borrow_mut().push(Call {
            process,
            at: self.now() + delay,
            run: Box::new(run),
        });
    }

    // The scheduler.

    /// Does one thing that can be done now, or lets time pass until something can. `before` is the latest time that may
    /// pass to. Gives whether there was anything to do.
    pub(crate) fn step(&self, before: Option<Micros>) -> bool {
        self.settle();
        let mut next = before;
        let mut earliest = |at: Micros| next = Some(next.map_or(at, |next| next.min(at)));
        let now = self.now();
        let mut ready: usize = 0;
        let health = *self.health.borrow();
        {
            let mut tasks = self.tasks.borrow_mut();
            for task in tasks.iter_mut() {
                let paused = health[task.process.index()].paused_until;
                if let State::Waiting(Some(until)) = task.state {
                    if until <= now {
                        task.state = State::Ready;
                    } else {
                        earliest(until);
                    }
                }
                if let Some(deadline) = task.deadline {
                    if deadline <= now {
                        task.state = State::Ready;
                    } else {
                        earliest(deadline);
                    }
                }
                if task.state == State::Ready {
                    if paused > now {
                        earliest(paused);
                    } else {
                        ready += 1;
                    }
                }
            }
            for call in self.calls.borrow().iter() {
                if call.at <= now {
                    ready += 1;
                } else {
                    earliest(call.at);
                }
            }
        }
        if ready == 0 {
            let Some(next) = next.filter(|next| *next > now) else {
                return false;
            };
            self.now.set(next);
            self.set_clock();
            return true;
        }
        self.steps.set(self.steps.get() + 1);
        let chosen = self.index(ready);
        self.run(chosen, &health, now);
        self.pass(self.below(300));
        true
    }

    /// Takes in what was begun and woken since.
    fn settle(&self) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.append(&mut self.spawned.borrow_mut());
        for number in self.woken.borrow_mut().drain(..) {
            if let Some(task) = tasks.iter_mut().find(|task| task.number == number) {
                task.state = State::Ready;
            }
        }
        self.calls.borrow_mut().append(&mut self.new_calls.borrow_mut());
    }

    /// Runs the ready thing of this number.
    fn run(&self, chosen: usize, health: &[Health; Process::COUNT], now: Micros) {
        let mut count = 0;
        let mut found = None;
        for (position, task) in self.tasks.borrow().iter().enumerate() {
            if task.state == State::Ready && health[task.process.index()].paused_until <= now {
                if count == chosen {
                    found = Some(position);
                    break;
                }
                count += 1;
            }
        }
        if let Some(position) = found {
            self.poll(position, now);
            return;
        }
        let mut position = None;
        for (index, call) in self.calls.borrow().iter().enumerate() {
            if call.at <= now {
                if count == chosen {
                    position = Some(index);
                    break;
                }
                count += 1;
            }
        }
        let Some(position) = position else { return };
        let mut call = self.calls.borrow_mut().remove(position);
        self.set_clock();
        if !(call.run)(self) {
            call.at = self.now() + 1 + self.below(MILLI);
            self.calls.borrow_mut().push(call);
        }
    }

    fn poll(&self, position: usize, now: Micros) {
        let mut task = self.tasks.borrow_mut().remove(position);
        if task.deadline.is_some_and(|deadline| deadline <= now) {
            // What it has asked for goes on without it.
            return;
        }
        self.set_clock();
        self.current.set(task.number);
        self.until.set(None);
        self.again.set(false);
        let mut context = Context::from_waker(Waker::noop());
        let done = task.future.as_mut().poll(&mut context).is_ready();
        self.current.set(usize::MAX);
        if done || !self.is_up(task.process) {
            return;
        }
        task.state = if self.again.get() {
            State::Ready
        } else {
            State::Waiting(self.until.get())
        };
        self.tasks.borrow_mut().insert(position, task);
    }

    /// Drops all that would keep the world alive.
    pub(crate) fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
        let spawned = std::mem::take(&mut *self.spawned.borrow_mut());
        drop(spawned);
        let calls = std::mem::take(&mut *self.calls.borrow_mut());
        drop(calls);
        let calls = std::mem::take(&mut *self.new_calls.borrow_mut());
        drop(calls);
        simulation::set_clock(None);
    }
}

/// Answers for a request that ends without an answer of its own.
struct Ending<T> {
    world: Shop,
    reply: Reply<T>,
    failed: Option<T>,
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        if let Some(failed) = self.failed.take() {
            self.reply.give(&self.world, failed);
        }
    }
}

/// See [`World::idle`].
pub(crate) struct Idle<'a> {
    world: &'a World,
    until: Option<Micros>,
    asleep: bool,
}

impl Future for Idle<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.asleep, true) {
            return Poll::Ready(());
        }
        if let Some(until) = self.until {
            let sooner = self.world.until.get().map_or(until, |other| other.min(until));
            self.world.until.set(Some(sooner));
        }
        Poll::Pending
    }
}
