//! The instances of one component and the requests that wait for one.
//!
//! A worker is a task that owns an instance. Requests stand in one queue; a worker that has room and nothing to do
//! is parked, and whoever queues a request calls one parked worker, or starts a new one within the bound. A called
//! worker that turns out to be busy (its guest computes) passes the call on. wasmtime-wasi-http's `ProxyHandler`
//! does much the same, but wakes workers that cannot take what they are woken for, and a request is then left
//! waiting: after one expired, or while a guest holds others back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::StreamExt;
use futures::channel::oneshot;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, Sleep};
use wasmtime::component::Accessor;
use wasmtime::{AsContextMut, Engine, Store};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{Prepared, Proxy, Request, Response};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::config::{Config, Limits, Reuse};
use crate::engine::one_line;
use crate::imports::{Guest, Surroundings};
use crate::lane::{Bell, Lane, Lanes, stand_back};
use crate::life::Life;
use crate::meters::Meters;
use crate::trace;

/// Instances of one component beyond its others that may be made for reserved requests: where clients' requests compute
/// in all of those, nobody else would have a turn.
pub(crate) const RESERVED_INSTANCES: u32 = 2;

/// Why a request got no answer from its component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many requests, or no memory for one more instance.
    Busy,
    /// The deadline passed.
    Late,
    /// The component trapped or answered an error.
    Failed,
}

/// Whose room a request takes: neither can take the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Client,
    /// What must go on while clients are turned away: the reserved path of this number.
    Reserved(usize),
}

/// The instances of one component.
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    engine: Engine,
    component: ServicePre<Guest>,
    surroundings: Arc<Surroundings>,
    lanes: Lanes,
    limits: Limits,
    reuse: Reuse,
    meters: Arc<Meters>,
    state: Mutex<State>,
}

impl Pool {
    pub(crate) fn new(
        component: ServicePre<Guest>,
        surroundings: Arc<Surroundings>,
        lanes: Lanes,
        config: &Config,
        meters: Arc<Meters>,
    ) -> Pool {
        let engine = component.engine().clone();
        let (limits, reuse) = (config.limits.clone(), config.reuse);
        let state = Mutex::new(State::new(&limits, config.reserved_paths.len()));
        Pool(Arc::new(Shared {
            engine,
            component,
            surroundings,
            lanes,
            limits,
            reuse,
            meters,
            state,
        }))
    }

    /// Has an instance answer the request. The deadline is kept here, outside the instance, for a busy guest keeps
    /// nothing; an instance that misses it is ended by its worker.
    pub(crate) async fn run(
        &self,
        mut request: Request,
        class: Class,
        deadline: Instant,
    ) -> Result<Response, Refusal> {
        let life = Life::default();
        request.extensions_mut().insert(life.clone());
        let mut response = self.answered(request, class, deadline).await?;
        response.extensions_mut().insert(life);
        Ok(response)
    }

    /// Makes an instance, and lets it go again.
    ///
    /// # Errors
    /// Why none could be made, on one line.
    pub(crate) async fn try_out(&self, deadline: Instant) -> Result<(), String> {
        match tokio::time::timeout_at(deadline, self.0.instantiate()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("no instance could be made: {}", one_line(&error))),
            Err(_) => Err("no instance could be made in time".to_owned()),
        }
    }

    async fn answered(&self, request: Request, class: Class, deadline: Instant) -> Result<Response, Refusal> {
        let (answer, mut answered) = oneshot::channel();
        let number = self.0.enqueue(request, class, answer, deadline)?;
        let patience = deadline.min(Instant::now() + self.0.limits.queue_timeout);
        if let Ok(answer) = tokio::time::timeout_at(patience, &mut answered).await {
            return self.0.judge(answer, deadline);
        }
        if self.0.lock().withdraw(number) {
            return Err(Refusal::Busy);
        }
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(answer) => self.0.judge(answer, deadline),
            Err(_) => Err(Refusal::Late),
        }
    }
}

type Answer = Result<Response, wasmtime::Error>;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(
        self: &Arc<Self>,
        request: Request,
        class: Class,
        answer: oneshot::Sender<Answer>,
        deadline: Instant,
    ) -> Result<u64, Refusal> {
        let (number, call) = {
            let mut state = self.lock();
            let number = state
                .push(request, class, answer, deadline)
                .ok_or(Refusal::Busy)?;
            (number, state.call())
        };
        self.place(call);
        Ok(number)
    }

    fn place(self: &Arc<Self>, call: Call) {
        match call {
            Call::Nobody => {}
            Call::Parked(waker) => waker.wake(),
            Call::New(number) => {
                let worker = Worker {
                    shared: Arc::clone(self),
                    number,
                    parked: true,
                };
                tokio::spawn(worker.live());
            }
        }
    }

    /// Calls somebody for what stands in the queue, if it takes one more.
    fn call(self: &Arc<Self>) {
        let call = self.lock().call();
        self.place(call);
    }

    fn judge(
        &self,
        answer: Result<Answer, oneshot::Canceled>,
        deadline: Instant,
    ) -> Result<Response, Refusal> {
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is::<NoInstance>() => Err(Refusal::Busy),
            Ok(Err(error)) => {
                tracing::warn!(component = %self.surroundings.component, error = format!("{error:#}"), "a request failed");
                Err(Refusal::Failed)
            }
            // The worker, which ended, has logged why; for a late request it may have been faster than the client.
            Err(oneshot::Canceled) if Instant::now() >= deadline => Err(Refusal::Late),
            Err(oneshot::Canceled) => Err(Refusal::Failed),
        }
    }

    async fn instantiate(&self) -> wasmtime::Result<(Store<Guest>, Proxy)> {
        let mut store = Store::new(&self.engine, Guest::new(&self.surroundings));
        store.limiter(|guest| &mut guest.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let service = self.component.instantiate_async(&mut store).await?;
        self.meters.instantiations.increment(1);
        Ok((store, Proxy::P3(service)))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no instance could be made")]
struct NoInstance;

#[derive(Debug, thiserror::Error)]
#[error("it took longer than a request may")]
struct TooSlow;

/// A request that waits for an instance.
struct Job {
    number: u64,
    class: Class,
    request: Request,
    answer: oneshot::Sender<Answer>,
    deadline: Instant,
}

/// The requests of one class.
struct Line {
    queue: VecDeque<Job>,
    /// Requests that instances work on.
    working: usize,
    max_queue: usize,
    max_working: usize,
}

impl Line {
    fn new(max_queue: usize, max_working: usize) -> Line {
        Line {
            queue: VecDeque::new(),
            working: 0,
            max_queue,
            max_working: max_working.max(1),
        }
    }

    /// How many of those that wait may be worked on.
    fn may_start(&self) -> usize {
        self.queue
            .len()
            .min(self.max_working.saturating_sub(self.working))
    }

    fn withdraw(&mut self, number: u64) -> bool {
        match self.queue.iter().position(|job| job.number == number) {
            Some(index) => self.queue.remove(index).is_some(),
            None => false,
        }
    }

    fn take(&mut self) -> Option<Job> {
        if self.working >= self.max_working {
            return None;
        }
        let job = std::iter::from_fn(|| self.queue.pop_front()).find(|job| !job.answer.is_canceled())?;
        self.working += 1;
        Some(job)
    }
}

/// Who waits for whom. Every change that could let a queued request go on ends in [`State::call`].
struct State {
    clients: Line,
    /// One for each reserved path.
    reserved: Vec<Line>,
    /// Workers with room and nothing to do, the last one parked last: it is called first, so that the others may
    /// grow old.
    parked: Vec<(u64, Waker)>,
    /// Workers that were called and have not looked yet.
    called: usize,
    instances: u32,
    last_number: u64,
    max_instances: u32,
}

enum Call {
    Nobody,
    Parked(Waker),
    New(u64),
}

impl State {
    fn new(limits: &Limits, reserved_paths: usize) -> State {
        let room = limits.reserved_per_component;
        State {
            clients: Line::new(limits.queue_per_component, limits.requests_per_component),
            reserved: (0..reserved_paths).map(|_| Line::new(room, room)).collect(),
            parked: Vec::new(),
            called: 0,
            instances: 0,
            last_number: 0,
            max_instances: limits.instances_per_component.max(1),
        }
    }

    fn line(&mut self, class: Class) -> &mut Line {
        match class {
            Class::Client => &mut self.clients,
            // One that is not reserved is a client's.
            Class::Reserved(number) => self.reserved.get_mut(number).unwrap_or(&mut self.clients),
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.reserved.iter().chain([&self.clients])
    }

    fn lines_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.reserved.iter_mut().chain([&mut self.clients])
    }

    /// The job's number, or `None` if its queue is full.
    fn push(
        &mut self,
        request: Request,
        class: Class,
        answer: oneshot::Sender<Answer>,
        deadline: Instant,
    ) -> Option<u64> {
        let number = self.next_number();
        let line = self.line(class);
        if line.queue.len() >= line.max_queue {
            return None;
        }
        line.queue.push_back(Job {
            number,
            class,
            request,
            answer,
            deadline,
        });
        Some(number)
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Takes a job out of its queue again; `false` if a worker has it already.
    fn withdraw(&mut self, number: u64) -> bool {
        self.lines_mut().any(|line| line.withdraw(number))
    }

    /// Whether a queued job has nobody called for it yet and may be worked on.
    fn needs_worker(&self) -> bool {
        self.lines().map(Line::may_start).sum::<usize>() > self.called
    }

    fn call(&mut self) -> Call {
        if !self.needs_worker() {
            return Call::Nobody;
        }
        if let Some((_, waker)) = self.parked.pop() {
            self.called += 1;
            return Call::Parked(waker);
        }
        let is_reserved = self.reserved.iter().any(|line| line.may_start() > 0);
        let for_reserved = if is_reserved { RESERVED_INSTANCES } else { 0 };
        if self.instances < self.max_instances.saturating_add(for_reserved) {
            self.instances += 1;
            self.called += 1;
            return Call::New(self.next_number());
        }
        Call::Nobody
    }

    /// `false` if there is something to do after all.
    fn park(&mut self, worker: u64, waker: &Waker) -> bool {
        if self.needs_worker() {
            return false;
        }
        self.parked.push((worker, waker.clone()));
        true
    }

    /// A parked worker looks, be it called or woken by something else.
    fn unpark(&mut self, worker: u64) {
        match self.parked.iter().position(|(parked, _)| *parked == worker) {
            Some(index) => {
                self.parked.remove(index);
            }
            None => self.called = self.called.saturating_sub(1),
        }
    }

    /// A job to work on, whose client is still there.
    fn take(&mut self) -> Option<Job> {
        self.lines_mut().find_map(Line::take)
    }
}

/// One request that an instance works on, for [`Line::working`].
struct Working {
    shared: Arc<Shared>,
    class: Class,
}

impl Working {
    fn on(job: &Job, shared: &Arc<Shared>) -> Working {
        Working {
            shared: Arc::clone(shared),
            class: job.class,
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let call = {
            let mut state = self.shared.lock();
            let line = state.line(self.class);
            line.working = line.working.saturating_sub(1);
            state.call()
        };
        self.shared.place(call);
    }
}

/// A task with an instance of its own.
struct Worker {
    shared: Arc<Shared>,
    number: u64,
    /// It is parked or was called since; a new one was called into life.
    parked: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.unpark();
        let call = {
            let mut state = self.shared.lock();
            state.instances = state.instances.saturating_sub(1);
            state.call()
        };
        self.shared.place(call);
    }
}

impl Worker {
    async fn live(mut self) {
        let component = Arc::clone(&self.shared.surroundings.component);
        let instance = tokio::time::timeout(self.shared.limits.request_timeout, self.shared.instantiate());
        let in_time = instance.await.unwrap_or_else(|_| Err(TooSlow.into()));
        match in_time {
            Ok((store, proxy)) => {
                self.shared.meters.instances.increment(1.0);
                if let Err(error) = self.work(store, &proxy).await {
                    self.shared.meters.traps.increment(1);
                    tracing::error!(%component, error = format!("{error:?}"), "an instance ended");
                }
                self.shared.meters.instances.decrement(1.0);
            }
            Err(error) => {
                tracing::error!(%component, error = format!("{error:#}"), "no instance could be made");
                if let Some(job) = self.shared.lock().take() {
                    let _working = Working::on(&job, &self.shared);
                    // The client may have left.
                    let _ = job.answer.send(Err(NoInstance.into()));
                }
            }
        }
    }

    /// Until the instance has grown old, was idle for long, trapped or missed a deadline.
    async fn work(&mut self, mut store: Store<Guest>, proxy: &Proxy) -> wasmtime::Result<()> {
        let shared = Arc::clone(&self.shared);
        let progress = Mutex::new(Progress::new());
        let mut serving = std::pin::pin!(
            store.run_concurrent(async |accessor| serve(accessor, &shared, proxy, &progress).await)
        );
        let mut alarm = std::pin::pin!(tokio::time::sleep(self.shared.reuse.idle_timeout));
        let mut rounds = Rounds::new(&shared.lanes);
        let ended = std::future::poll_fn(|cx| {
            self.turn(cx, serving.as_mut(), alarm.as_mut(), &mut rounds, &progress)
        })
        .await;
        if ended.is_err() {
            // Before the store is dropped, which ends the bodies that are still on their way.
            lock(&progress).lives.iter().for_each(Life::cut_off);
        }
        ended
    }

    /// One poll of the instance, from outside it: this runs even while its guest computes.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        mut serving: Pin<&mut impl Future<Output = wasmtime::Result<wasmtime::Result<()>>>>,
        mut alarm: Pin<&mut Sleep>,
        rounds: &mut Rounds,
        progress: &Mutex<Progress>,
    ) -> Poll<wasmtime::Result<()>> {
        loop {
            self.unpark();
            if alarm.as_mut().poll(cx).is_ready() {
                match lock(progress).judge(Instant::now(), &self.shared.limits, &self.shared.reuse) {
                    Verdict::Stop => return Poll::Ready(Ok(())),
                    Verdict::Kill(reason) => return Poll::Ready(Err(wasmtime::Error::msg(reason))),
                    Verdict::GoOn(until) => alarm.as_mut().reset(until),
                }
                continue;
            }
            lock(progress).looked = false;
            match rounds.poll(cx, serving.as_mut(), progress) {
                Round::Ended(ended) => return Poll::Ready(ended.flatten()),
                Round::Computes => {
                    self.shared.call();
                    return Poll::Pending;
                }
                Round::Waits => {}
            }
            let mut seen = lock(progress);
            if !seen.settled {
                // All its requests wait for something, so there may be room for another.
                seen.settled = true;
                continue;
            }
            let has_room = seen.has_room;
            drop(seen);
            if !has_room {
                self.shared.call();
                return Poll::Pending;
            }
            if self.park(cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    fn park(&mut self, waker: &Waker) -> bool {
        self.parked = self.shared.lock().park(self.number, waker);
        self.parked
    }

    fn unpark(&mut self) {
        if std::mem::take(&mut self.parked) {
            self.shared.lock().unpark(self.number);
        }
    }
}

/// How the polls of one instance take turns with everything else.
struct Rounds {
    bell: Arc<Bell>,
    waker: Waker,
    lane: Lane,
    /// The guest computed at the end of the last round.
    computes: bool,
}

enum Round<T> {
    Ended(T),
    /// The guest gave way in the middle of something, or waits for its next tick.
    Computes,
    /// Everything inside waits.
    Waits,
}

impl Rounds {
    fn new(lanes: &Lanes) -> Rounds {
        let bell = Bell::new();
        Rounds {
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            lane: lanes.lane(),
            computes: false,
        }
    }

    fn poll<F: Future>(
        &mut self,
        cx: &mut Context<'_>,
        serving: Pin<&mut F>,
        progress: &Mutex<Progress>,
    ) -> Round<F::Output> {
        let _permit = match self.computes {
            true => match self.lane.poll_enter(cx) {
                Poll::Ready(permit) => permit,
                Poll::Pending => return Round::Computes,
            },
            false => None,
        };
        self.bell.start(cx.waker());
        let polled = serving.poll(&mut Context::from_waker(&self.waker));
        let rung = self.bell.stop();
        if let Poll::Ready(ended) = polled {
            return Round::Ended(ended);
        }
        // Its inside was not reached: the guest is in the middle of something.
        self.computes = !lock(progress).looked;
        match (self.computes, rung) {
            (true, true) => stand_back(cx),
            (false, true) => cx.waker().wake_by_ref(),
            _ => {}
        }
        if self.computes {
            Round::Computes
        } else {
            Round::Waits
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a worker knows of its instance, inside and outside of it.
struct Progress {
    /// The inside was reached in this turn; it is not while the guest computes.
    looked: bool,
    /// No request was begun since everything inside last waited. While one computes, another would only wait for it.
    settled: bool,
    /// The instance could take another request.
    has_room: bool,
    /// It takes no more: a request of its own missed its deadline.
    retiring: bool,
    /// Requests being worked on, by number, and when they must be answered.
    deadlines: Vec<(u64, Instant)>,
    /// Since when no request was being worked on.
    quiet_since: Instant,
    /// Nothing at all is left to do, not even after an answer.
    idle: bool,
    /// Of all requests that it took: their answers may still be on their way.
    lives: Vec<Life>,
}

enum Verdict {
    /// Look again then.
    GoOn(Instant),
    Stop,
    Kill(&'static str),
}

impl Progress {
    fn new() -> Progress {
        Progress {
            looked: false,
            settled: true,
            has_room: true,
            retiring: false,
            deadlines: Vec::new(),
            quiet_since: Instant::now(),
            idle: true,
            lives: Vec::new(),
        }
    }

    fn begin(&mut self, number: u64, deadline: Instant) {
        self.deadlines.push((number, deadline));
        self.settled = false;
        self.idle = false;
    }

    fn finish(&mut self, number: u64) {
        self.deadlines.retain(|(other, _)| *other != number);
        if self.deadlines.is_empty() {
            self.quiet_since = Instant::now();
        }
    }

    /// An instance with a late request takes no others, and ends once all that it has are late, or at once if its
    /// guest computes: whatever else it has could not be answered either.
    fn judge(&mut self, now: Instant, limits: &Limits, reuse: &Reuse) -> Verdict {
        let tick = now + reuse.idle_timeout;
        if self.deadlines.is_empty() {
            return match self.idle {
                true if now >= self.quiet_since + reuse.idle_timeout => Verdict::Stop,
                true => Verdict::GoOn(self.quiet_since + reuse.idle_timeout),
                false if now >= self.quiet_since + limits.request_timeout => {
                    Verdict::Kill("it went on for too long after its last answer")
                }
                false => Verdict::GoOn(tick),
            };
        }
        let late = self
            .deadlines
            .iter()
            .filter(|(_, deadline)| *deadline <= now)
            .count();
        if late == self.deadlines.len() || (late > 0 && !self.looked) {
            return Verdict::Kill("a request was not answered in time");
        }
        self.retiring |= late > 0;
        let next = self
            .deadlines
            .iter()
            .map(|(_, deadline)| *deadline)
            .filter(|deadline| *deadline > now);
        Verdict::GoOn(next.min().map_or(tick, |next| next.min(tick)))
    }
}

/// Inside the instance: takes requests and drives them until it has served enough.
async fn serve(
    accessor: &Accessor<Guest>,
    shared: &Arc<Shared>,
    proxy: &Proxy,
    progress: &Mutex<Progress>,
) -> wasmtime::Result<()> {
    let Proxy::P3(service) = proxy;
    let handle = *service.wasi_http_handler().func_handle().func();
    let reuse = shared.reuse;
    let mut served = 0;
    let mut requests = FuturesUnordered::new();
    std::future::poll_fn(|cx| {
        loop {
            while let Poll::Ready(Some(finished)) = requests.poll_next_unpin(cx) {
                match finished {
                    Ok(number) => lock(progress).finish(number),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            let ready = accessor.poll_ready_for_concurrent_call(handle, cx).is_ready();
            let mut seen = lock(progress);
            seen.looked = true;
            let goes_on = !seen.retiring && served < reuse.max_requests;
            seen.has_room = goes_on
                && ready
                && requests.len() < reuse.max_concurrent_requests
                && (requests.is_empty() || seen.settled);
            if seen.has_room
                && let Some(job) = shared.lock().take()
            {
                served += 1;
                seen.begin(job.number, job.deadline);
                seen.lives.extend(job.request.extensions().get::<Life>().cloned());
                drop(seen);
                let working = Working::on(&job, shared);
                requests.push(answer(accessor, proxy, job, working));
                continue;
            }
            if !requests.is_empty() || accessor.poll_no_interesting_tasks(cx).is_pending() {
                return Poll::Pending;
            }
            if !goes_on {
                return Poll::Ready(Ok(()));
            }
            seen.idle = true;
            return Poll::Pending;
        }
    })
    .await
}

/// One request, until the head of its answer is there. Errors are the instance's end.
async fn answer(
    accessor: &Accessor<Guest>,
    proxy: &Proxy,
    job: Job,
    _working: Working,
) -> wasmtime::Result<u64> {
    let context = trace::of(&job.request);
    let (prepared, task) = accessor.with(|mut access| {
        let mut store = access.as_context_mut();
        // A full tick from now, or a guest that slept would give way before it has begun.
        store.set_epoch_deadline(1);
        let prepared = Prepared::new(store, proxy, job.request, Guest::http, job.answer)?;
        // By its task a call of the guest is known to be this request's.
        let Prepared::P3 { call, .. } = &prepared;
        let task = call.task();
        access.get().traced.extend(context.map(|context| (task, context)));
        wasmtime::error::Ok((prepared, task))
    })?;
    prepared.run(accessor, std::future::pending()).await?;
    if context.is_some() {
        accessor.with(|mut access| access.get().traced.remove(&task));
    }
    Ok(job.number)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::problem::full;

    fn state(max_instances: u32, max_working: usize, max_queue: usize) -> State {
        let limits = Limits {
            instances_per_component: max_instances,
            requests_per_component: max_working,
            queue_per_component: max_queue,
            reserved_per_component: 1,
            ..Limits::default()
        };
        State::new(&limits, 2)
    }

    /// Queues a request; its client waits as long as the receiver lives.
    fn push_as(state: &mut State, class: Class) -> Option<(u64, oneshot::Receiver<Answer>)> {
        let (answer, answered) = oneshot::channel();
        let number = state.push(Request::new(full(Bytes::new())), class, answer, Instant::now())?;
        Some((number, answered))
    }

    fn push(state: &mut State) -> Option<(u64, oneshot::Receiver<Answer>)> {
        push_as(state, Class::Client)
    }

    fn new_worker(state: &mut State) -> u64 {
        match state.call() {
            Call::New(number) => number,
            _ => panic!("a new worker must be called"),
        }
    }

    fn is_nobody_called(state: &mut State) -> bool {
        matches!(state.call(), Call::Nobody)
    }

    #[test]
    fn each_waiting_request_calls_a_worker_until_there_are_enough() {
        let mut state = state(2, 16, 16);
        let _clients: Vec<_> = (0..3).map(|_| push(&mut state).unwrap()).collect();
        new_worker(&mut state);
        new_worker(&mut state);
        assert!(is_nobody_called(&mut state), "there may be two instances only");
    }

    #[test]
    fn one_request_calls_one_worker() {
        let mut state = state(2, 16, 16);
        let _client = push(&mut state).unwrap();
        new_worker(&mut state);
        assert!(is_nobody_called(&mut state), "somebody is on the way already");
    }

    #[test]
    fn a_parked_worker_is_called_before_a_new_one_is_made() {
        let mut state = state(2, 16, 16);
        assert!(state.park(7, Waker::noop()));
        let _client = push(&mut state).unwrap();
        assert!(matches!(state.call(), Call::Parked(_)));
        state.unpark(7);
        assert!(state.take().is_some());
        assert_eq!(state.called, 0);
    }

    #[test]
    fn a_called_worker_that_cannot_take_the_request_passes_the_call_on() {
        let mut state = state(2, 16, 16);
        assert!(state.park(7, Waker::noop()));
        let _client = push(&mut state).unwrap();
        assert!(matches!(state.call(), Call::Parked(_)));
        state.unpark(7);
        new_worker(&mut state);
    }

    #[test]
    fn a_worker_does_not_park_while_a_request_waits() {
        let mut state = state(1, 16, 16);
        let _client = push(&mut state).unwrap();
        assert!(!state.park(7, Waker::noop()));
    }

    #[test]
    fn a_worker_that_woke_by_itself_is_no_longer_parked() {
        let mut state = state(1, 16, 16);
        assert!(state.park(7, Waker::noop()));
        state.unpark(7);
        assert!(state.parked.is_empty());
        assert_eq!(state.called, 0);
    }

    #[test]
    fn no_more_requests_are_worked_on_than_allowed() {
        let mut state = state(8, 1, 16);
        let _clients: Vec<_> = (0..2).map(|_| push(&mut state).unwrap()).collect();
        let worker = new_worker(&mut state);
        assert!(is_nobody_called(&mut state));
        state.unpark(worker);
        assert!(state.take().is_some());
        assert!(state.take().is_none(), "one is being worked on");
        state.clients.working -= 1;
        assert!(state.take().is_some());
    }

    #[test]
    fn what_is_reserved_finds_room_while_clients_have_none() {
        let mut state = state(8, 1, 1);
        let _first = push(&mut state).unwrap();
        new_worker(&mut state);
        state.unpark(0);
        assert!(state.take().is_some());
        let _second = push(&mut state).unwrap();
        assert!(push(&mut state).is_none());
        assert!(is_nobody_called(&mut state));

        let (number, _event) = push_as(&mut state, Class::Reserved(0)).unwrap();
        new_worker(&mut state);
        assert_eq!(state.take().map(|job| job.number), Some(number));
    }

    #[test]
    fn each_reserved_path_has_room_of_its_own() {
        let mut state = state(8, 1, 1);
        let _working = push_as(&mut state, Class::Reserved(1)).unwrap();
        assert!(state.take().is_some());
        let _waiting = push_as(&mut state, Class::Reserved(1)).unwrap();
        assert!(push_as(&mut state, Class::Reserved(1)).is_none());
        let (number, _event) = push_as(&mut state, Class::Reserved(0)).unwrap();
        assert_eq!(state.take().map(|job| job.number), Some(number));
    }

    #[test]
    fn what_is_reserved_takes_no_room_of_clients() {
        let mut state = state(8, 1, 1);
        let _event = push_as(&mut state, Class::Reserved(0)).unwrap();
        assert!(state.take().is_some());
        let _next = push_as(&mut state, Class::Reserved(0)).unwrap();
        assert!(push_as(&mut state, Class::Reserved(0)).is_none());
        assert!(state.take().is_none(), "one is being worked on");

        let (number, _client) = push(&mut state).unwrap();
        assert_eq!(state.take().map(|job| job.number), Some(number));
    }

    #[test]
    fn a_full_queue_takes_nothing() {
        let mut state = state(1, 1, 2);
        let _clients: Vec<_> = (0..2).map(|_| push(&mut state).unwrap()).collect();
        assert!(push(&mut state).is_none());
    }

    #[test]
    fn a_request_that_waited_for_too_long_can_be_taken_back_once() {
        let mut state = state(1, 1, 2);
        let (number, _client) = push(&mut state).unwrap();
        assert!(state.withdraw(number));
        assert!(!state.withdraw(number));
        assert!(state.take().is_none());
    }

    #[test]
    fn a_request_whose_client_left_is_not_worked_on() {
        let mut state = state(1, 2, 2);
        drop(push(&mut state).unwrap());
        let (number, _client) = push(&mut state).unwrap();
        assert_eq!(state.take().map(|job| job.number), Some(number));
    }

    fn judged(progress: &mut Progress, after: Duration) -> Verdict {
        progress.judge(Instant::now() + after, &Limits::default(), &Reuse::default())
    }

    #[test]
    fn an_instance_is_stopped_when_it_was_idle_for_long() {
        let mut progress = Progress::new();
        assert!(matches!(
            judged(&mut progress, Duration::from_millis(10)),
            Verdict::GoOn(_)
        ));
        assert!(matches!(
            judged(&mut progress, Duration::from_secs(2)),
            Verdict::Stop
        ));
    }

    #[test]
    fn an_instance_is_killed_when_all_its_requests_are_late() {
        let mut progress = Progress::new();
        progress.begin(1, Instant::now() + Duration::from_secs(5));
        progress.looked = true;
        assert!(matches!(
            judged(&mut progress, Duration::from_secs(1)),
            Verdict::GoOn(_)
        ));
        assert!(matches!(
            judged(&mut progress, Duration::from_secs(6)),
            Verdict::Kill(_)
        ));
    }

    #[test]
    fn a_late_request_lets_the_others_finish_unless_the_guest_computes() {
        let mut progress = Progress::new();
        progress.begin(1, Instant::now() + Duration::from_secs(5));
        progress.begin(2, Instant::now() + Duration::from_secs(50));
        progress.looked = true;
        assert!(matches!(
            judged(&mut progress, Duration::from_secs(6)),
            Verdict::GoOn(_)
        ));
        assert!(progress.retiring);
        progress.looked = false;
        assert!(matches!(
            judged(&mut progress, Duration::from_secs(6)),
            Verdict::Kill(_)
        ));
    }

    #[test]
    fn what_goes_on_after_the_last_answer_is_killed_in_the_end() {
        let mut progress = Progress::new();
        progress.begin(1, Instant::now() + Duration::from_secs(5));
        progress.finish(1);
        assert!(matches!(
            judged(&mut progress, Duration::from_secs(6)),
            Verdict::GoOn(_)
        ));
        assert!(matches!(
            judged(&mut progress, Duration::from_secs(31)),
            Verdict::Kill(_)
        ));
    }
}
