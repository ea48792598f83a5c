//! The deliveries of one queue: which go to the service together, what its answer means for each, and what happens when
//! it does not answer. Decisions only: no I/O, and time is a parameter.
//!
//! Three things keep healthy events out of the dead letters. `retry` is never counted. Nothing is counted while the
//! service is not healthy. And an event is held responsible only when it was sent alone.

use crate::backoff::Backoff;
use event_batch::Outcome;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// The broker's number of a delivery: ascending on its channel, in the order of the queue.
pub type Tag = u64;

/// Bounds and waits.
#[derive(Clone, Copy, Debug)]
pub struct LineSettings {
    /// The most events of a batch.
    pub batch_events: usize,
    /// The size at which a batch is full, in bytes; one larger event goes alone.
    pub batch_bytes: usize,
    /// The most deliveries that may wait for a service that answered `retry`.
    pub held: usize,
    /// How an event waits that the service cannot handle now.
    pub retry: Backoff,
    /// How an event waits that failed alone.
    pub suspect: Backoff,
    /// How the queue waits for a service that does not answer.
    pub pause: Backoff,
    /// After how many failures on its own an event is dead.
    pub lone_failures: u32,
}

impl LineSettings {
    /// The usual ones, for a consumer that prefetches so many deliveries.
    #[must_use]
    pub fn for_prefetch(prefetch: u16) -> Self {
        let first = Duration::from_millis(200);
        Self {
            batch_events: event_batch::MAX_BATCH_EVENTS,
            batch_bytes: event_batch::FULL_BATCH_BYTES,
            held: usize::from(prefetch) / 2,
            retry: Backoff {
                first,
                most: Duration::from_secs(60),
            },
            suspect: Backoff {
                first,
                most: Duration::from_secs(10),
            },
            pause: Backoff {
                first,
                most: Duration::from_secs(2),
            },
            lone_failures: 10,
        }
    }
}

/// A delivery, as far as deciding needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub tag: Tag,
    pub event_id: String,
    /// Events of one key reach the service in the order in which they were delivered.
    pub key: String,
    pub bytes: usize,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// POST these, in this order, and report with `answered` or `failed`.
    Post(Vec<Tag>),
    /// Ask for the service's health, and report with `health`.
    AskHealth,
    /// Nothing before then, unless something is delivered.
    WaitUntil(Instant),
    /// Nothing until something is delivered or reported.
    Wait,
}

/// What is to be done about a delivery, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    Ack(Tag),
    /// Bury it with this reason, then report with `buried`.
    Dead(Tag, String),
}

/// Why a batch got no 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service cannot be reached, or says that it (or we) must be put right first: never an event's fault.
    Unavailable(String),
    /// Anything else: an event's fault, perhaps.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Settled, but not acknowledged yet.
    Dying,
}

#[derive(Clone, Debug)]
struct Event {
    id: String,
    key: String,
    bytes: usize,
    state: State,
    /// How often the service answered `retry`.
    retries: u32,
    /// How often it failed alone.
    failures: u32,
}

impl Event {
    fn is_held(&self) -> bool {
        self.state == State::Waiting && (self.retries > 0 || self.failures > 0)
    }
}

/// Events that failed together while the service was healthy.
#[derive(Clone, Debug)]
struct Suspects {
    tags: Vec<Tag>,
    failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Posted(Vec<Tag>),
    /// A batch failed; whether that counts depends on the service's health now.
    Judging(Vec<Tag>, String),
    Paused(Instant),
    /// The pause is over; whether to go on depends on the service's health.
    Probing,
}

/// See the module.
#[derive(Debug)]
pub struct Line {
    settings: LineSettings,
    random: fastrand::Rng,
    events: BTreeMap<Tag, Event>,
    /// Keys that wait, and until when.
    held: HashMap<String, Instant>,
    suspects: VecDeque<Suspects>,
    phase: Phase,
    /// Faults since the last answer.
    faults: u32,
}

impl Line {
    /// Empty. `seed` decides the jitter.
    #[must_use]
    pub fn new(settings: LineSettings, seed: u64) -> Self {
        Self {
            settings,
            random: fastrand::Rng::with_seed(seed),
            events: BTreeMap::new(),
            held: HashMap::new(),
            suspects: VecDeque::new(),
            phase: Phase::Open,
            faults: 0,
        }
    }

    /// Something was delivered.
    pub fn deliver(&mut self, arrival: Arrival) {
        let Arrival {
            tag,
            event_id: id,
            key,
            bytes,
        } = arrival;
        let event = Event {
            id,
            key,
            bytes,
            state: State::Waiting,
            retries: 0,
            failures: 0,
        };
        self.events.insert(tag, event);
    }

    /// Something was delivered that is no event. It is dead at once; report with `buried`.
    pub fn deliver_dead(&mut self, tag: Tag) {
        let event = Event {
            id: String::new(),
            key: String::new(),
            bytes: 0,
            state: State::Dying,
            retries: 0,
            failures: 0,
        };
        self.events.insert(tag, event);
    }

    /// The dead letter of this delivery is safe with the broker.
    pub fn buried(&mut self, tag: Tag) -> Settled {
        self.events.remove(&tag);
        Settled::Ack(tag)
    }

    /// The oldest delivery that is not settled: all before it are.
    #[must_use]
    pub fn oldest(&self) -> Option<Tag> {
        self.events.keys().next().copied()
    }

    /// Whether the queue is paused because the service does not answer.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self.phase, Phase::Paused(_) | Phase::Probing)
    }

    /// Whether a batch is with the service.
    #[must_use]
    pub fn is_posted(&self) -> bool {
        matches!(self.phase, Phase::Posted(_))
    }

    /// What to do now. `Post` begins a batch: ask again only after reporting what became of it.
    pub fn next(&mut self, now: Instant) -> Step {
        match &self.phase {
            Phase::Posted(_) => return Step::Wait,
            Phase::Judging(..) | Phase::Probing => return Step::AskHealth,
            Phase::Paused(until) if now < *until => return Step::WaitUntil(*until),
            // Nothing to send: no reason to trouble a service that is down.
            Phase::Paused(_) if !self.has_waiting() => return Step::Wait,
            Phase::Paused(_) => {
                self.phase = Phase::Probing;
                return Step::AskHealth;
            }
            Phase::Open => {}
        }
        self.held.retain(|_, until| now < *until);
        let batch = self.select();
        if !batch.is_empty() {
            self.phase = Phase::Posted(batch.clone());
            return Step::Post(batch);
        }
        self.held
            .values()
            .min()
            .map_or(Step::Wait, |until| Step::WaitUntil(*until))
    }

    /// The service answered 200, with these outcomes by event id.
    pub fn answered(
        &mut self,
        outcomes: &HashMap<String, (Outcome, Option<String>)>,
        now: Instant,
    ) -> Vec<Settled> {
        let Phase::Posted(batch) = std::mem::replace(&mut self.phase, Phase::Open) else {
            return Vec::new();
        };
        let mut settled = Vec::with_capacity(batch.len());
        let mut missing = Vec::new();
        for tag in batch {
            match self.events.get(&tag).and_then(|event| outcomes.get(&event.id)) {
                Some((outcome, reason)) => settled.extend(self.settle(tag, *outcome, reason.as_deref(), now)),
                None => missing.push(tag),
            }
        }
        if missing.is_empty() {
            self.faults = 0;
            // Suspects that were answered are none.
            self.suspects.pop_front();
        } else {
            let reason = format!("the answer has no outcome for {} of the events", missing.len());
            self.phase = Phase::Judging(missing, reason);
        }
        settled
    }

    /// The service gave no 200.
    pub fn failed(&mut self, fault: Fault, now: Instant) {
        let Phase::Posted(batch) = std::mem::replace(&mut self.phase, Phase::Open) else {
            return;
        };
        match fault {
            Fault::Unavailable(_) => self.pause(now),
            Fault::Failed(reason) => self.phase = Phase::Judging(batch, reason),
        }
    }

    /// The service's health, as asked for.
    pub fn health(&mut self, healthy: bool, now: Instant) -> Vec<Settled> {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Judging(batch, reason) if healthy => self.hold_against(batch, &reason, now),
            Phase::Judging(..) | Phase::Probing if !healthy => {
                self.pause(now);
                Vec::new()
            }
            Phase::Probing => Vec::new(),
            other => {
                self.phase = other;
                Vec::new()
            }
        }
    }

    fn has_waiting(&self) -> bool {
        self.events.values().any(|event| event.state == State::Waiting)
    }

    fn pause(&mut self, now: Instant) {
        self.faults = self.faults.saturating_add(1);
        self.phase = Phase::Paused(now + self.settings.pause.after(self.faults, &mut self.random));
    }

    fn settle(&mut self, tag: Tag, outcome: Outcome, reason: Option<&str>, now: Instant) -> Option<Settled> {
        match outcome {
            Outcome::Processed | Outcome::Duplicate => {
                self.events.remove(&tag);
                Some(Settled::Ack(tag))
            }
            Outcome::Retry => {
                let event = self.events.get_mut(&tag)?;
                event.retries = event.retries.saturating_add(1);
                let wait = self.settings.retry.after(event.retries, &mut self.random);
                // The first of a key that has to wait decides for those behind it.
                self.held.entry(event.key.clone()).or_insert(now + wait);
                None
            }
            Outcome::Rejected => Some(self.die(tag, reason.unwrap_or("rejected without a reason"))),
        }
    }

    fn die(&mut self, tag: Tag, reason: &str) -> Settled {
        if let Some(event) = self.events.get_mut(&tag) {
            event.state = State::Dying;
        }
        Settled::Dead(tag, reason.to_owned())
    }

    /// A batch failed though the service is healthy.
    fn hold_against(&mut self, batch: Vec<Tag>, reason: &str, now: Instant) -> Vec<Settled> {
        let earlier = self.suspects.pop_front();
        if let [tag] = batch[..] {
            return self.fail_alone(tag, reason, now).into_iter().collect();
        }
        let failures = earlier.map_or(1, |suspects| suspects.failures + 1);
        if failures < 2 {
            self.suspects.push_front(Suspects {
                tags: batch,
                failures,
            });
            self.phase = Phase::Paused(now + self.settings.pause.after(1, &mut self.random));
        } else {
            let (first, second) = batch.split_at(batch.len() / 2);
            for half in [second, first] {
                self.suspects.push_front(Suspects {
                    tags: half.to_vec(),
                    failures: 0,
                });
            }
        }
        Vec::new()
    }

    /// It delays its own key alone, and is dead when it has failed often enough.
    fn fail_alone(&mut self, tag: Tag, reason: &str, now: Instant) -> Option<Settled> {
        let event = self.events.get_mut(&tag)?;
        event.failures += 1;
        let failures = event.failures;
        if failures >= self.settings.lone_failures {
            return Some(self.die(tag, &format!("failed {failures} times on its own: {reason}")));
        }
        let wait = self.settings.suspect.after(failures, &mut self.random);
        self.held.insert(event.key.clone(), now + wait);
        None
    }

    /// The next batch; empty if nothing may be sent now. While there are suspects, only they are sent.
    fn select(&mut self) -> Vec<Tag> {
        while let Some(suspects) = self.suspects.front() {
            let batch = self.fill(Some(&suspects.tags));
            if !batch.is_empty() {
                return batch;
            }
            // What is left of them waits for other reasons.
            self.suspects.pop_front();
        }
        self.fill(None)
    }

    /// As many deliveries as fit into a batch and may go now, in their order, and `only` of these if that is given.
    fn fill(&self, only: Option<&[Tag]>) -> Vec<Tag> {
        let mut batch = Vec::new();
        let mut bytes = 2;
        let mut ids = HashSet::new();
        let mut blocked = HashSet::new();
        let held = self.events.values().filter(|event| event.is_held()).count();
        let mut room = self.settings.held.saturating_sub(held);
        for (tag, event) in self
            .events
            .iter()
            .filter(|(_, event)| event.state == State::Waiting)
        {
            let alone = event.failures > 0;
            let fresh = !event.is_held();
            let fits = batch.is_empty() || (bytes + event.bytes < self.settings.batch_bytes && !alone);
            let may_go = only.is_none_or(|only| only.contains(tag))
                && !self.held.contains_key(&event.key)
                && !blocked.contains(event.key.as_str())
                // The answer tells events apart by their ids alone: the same one again goes in a later batch.
                && !ids.contains(event.id.as_str())
                && (!fresh || room > 0);
            if !may_go || !fits {
                // Those behind it wait for it.
                blocked.insert(event.key.as_str());
                continue;
            }
            batch.push(*tag);
            bytes += event.bytes + 1;
            ids.insert(event.id.as_str());
            room -= usize::from(fresh);
            if alone || batch.len() == self.settings.batch_events {
                break;
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings() -> LineSettings {
        LineSettings::for_prefetch(400)
    }

    fn line() -> Line {
        Line::new(settings(), 7)
    }

    fn arrival(tag: Tag, key: &str) -> Arrival {
        Arrival {
            tag,
            event_id: format!("e{tag}"),
            key: key.to_owned(),
            bytes: 100,
        }
    }

    fn with(keys: &[&str]) -> Line {
        let mut line = line();
        for (tag, key) in (1..).zip(keys) {
            line.deliver(arrival(tag, key));
        }
        line
    }

    type Outcomes = HashMap<String, (Outcome, Option<String>)>;

    fn outcomes(of: &[(Tag, Outcome)]) -> Outcomes {
        of.iter()
            .map(|(tag, outcome)| (format!("e{tag}"), (*outcome, None)))
            .collect()
    }

    fn failed() -> Fault {
        Fault::Failed("500".to_owned())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Asks until there is a batch, letting time pass; answers that the service is healthy.
    fn next_batch(line: &mut Line, now: &mut Instant) -> Vec<Tag> {
        for _ in 0..100 {
            match line.next(*now) {
                Step::Post(batch) => return batch,
                Step::AskHealth => assert_eq!(line.health(true, *now), []),
                Step::WaitUntil(until) => *now = until,
                Step::Wait => break,
            }
        }
        Vec::new()
    }

    #[test]
    fn what_was_processed_now_or_earlier_is_acknowledged() {
        let (mut line, now) = (with(&["a", "b"]), Instant::now());
        assert_eq!(line.next(now), Step::Post(vec![1, 2]));
        let settled = line.answered(
            &outcomes(&[(1, Outcome::Processed), (2, Outcome::Duplicate)]),
            now,
        );
        assert_eq!(settled, [Settled::Ack(1), Settled::Ack(2)]);
        assert_eq!((line.oldest(), line.next(now)), (None, Step::Wait));
    }

    #[test]
    fn one_batch_is_under_way_at_a_time() {
        let (mut line, now) = (with(&["a"]), Instant::now());
        assert_eq!(line.next(now), Step::Post(vec![1]));
        line.deliver(arrival(2, "b"));
        assert_eq!(line.next(now), Step::Wait);
    }

    #[test]
    fn an_event_to_be_retried_holds_back_the_later_ones_of_its_key_and_no_others() {
        let (mut line, mut now) = (with(&["a", "a", "b"]), Instant::now());
        line.next(now);
        let all = [(1, Outcome::Retry), (2, Outcome::Retry), (3, Outcome::Processed)];
        assert_eq!(line.answered(&outcomes(&all), now), [Settled::Ack(3)]);
        line.deliver(arrival(4, "a"));
        line.deliver(arrival(5, "c"));
        assert_eq!(line.next(now), Step::Post(vec![5]));
        line.answered(&outcomes(&[(5, Outcome::Processed)]), now);
        let Step::WaitUntil(until) = line.next(now) else {
            panic!("the key waits")
        };
        assert!(until - now <= Duration::from_millis(200));
        assert_eq!(next_batch(&mut line, &mut now), [1, 2, 4]);
    }

    #[test]
    fn a_retry_waits_longer_each_time_up_to_a_minute_and_is_never_counted() {
        let (mut line, mut now) = (with(&["a"]), Instant::now());
        for _ in 0..1000 {
            let before = now;
            assert_eq!(next_batch(&mut line, &mut now), [1]);
            assert!(now - before <= seconds(60));
            assert_eq!(line.answered(&outcomes(&[(1, Outcome::Retry)]), now), []);
        }
    }

    #[test]
    fn at_most_half_the_prefetch_is_held() {
        let mut line = Line::new(LineSettings::for_prefetch(8), 7);
        (1..=8).for_each(|tag| line.deliver(arrival(tag, &tag.to_string())));
        let now = Instant::now();
        assert_eq!(line.next(now), Step::Post(vec![1, 2, 3, 4]));
        line.answered(&outcomes(&[1, 2, 3, 4].map(|tag| (tag, Outcome::Retry))), now);
        assert!(matches!(line.next(now), Step::WaitUntil(_)));
    }

    #[test]
    fn a_rejected_event_is_buried_with_its_reason_and_acknowledged_only_then() {
        let (mut line, now) = (with(&["a", "a"]), Instant::now());
        line.next(now);
        let mut answer = outcomes(&[(2, Outcome::Processed)]);
        answer.insert(
            "e1".to_owned(),
            (Outcome::Rejected, Some("no such order".to_owned())),
        );
        let settled = line.answered(&answer, now);
        assert_eq!(
            settled,
            [Settled::Dead(1, "no such order".to_owned()), Settled::Ack(2)]
        );
        assert_eq!((line.oldest(), line.next(now)), (Some(1), Step::Wait));
        assert_eq!((line.buried(1), line.oldest()), (Settled::Ack(1), None));
    }

    #[test]
    fn a_batch_holds_a_hundred_events_or_half_a_mebibyte_and_one_larger_event_goes_alone() {
        let now = Instant::now();
        let mut many = line();
        (1..=150).for_each(|tag| many.deliver(arrival(tag, &tag.to_string())));
        assert_eq!(many.next(now), Step::Post((1..=100).collect()));
        let mut large = line();
        for (tag, bytes) in [(1, 600_000), (2, 300_000), (3, 300_000)] {
            large.deliver(Arrival {
                bytes,
                ..arrival(tag, &tag.to_string())
            });
        }
        assert_eq!(large.next(now), Step::Post(vec![1]));
        large.answered(&outcomes(&[(1, Outcome::Processed)]), now);
        assert_eq!(large.next(now), Step::Post(vec![2]));
    }

    #[test]
    fn the_same_event_twice_goes_in_two_batches() {
        let (mut line, now) = (line(), Instant::now());
        for tag in [1, 2] {
            line.deliver(Arrival {
                event_id: "e".to_owned(),
                ..arrival(tag, "a")
            });
        }
        assert_eq!(line.next(now), Step::Post(vec![1]));
    }

    #[test]
    fn a_service_that_is_away_for_an_hour_costs_no_event_anything() {
        let (mut line, mut now) = (with(&["a", "b"]), Instant::now());
        assert_eq!(line.next(now), Step::Post(vec![1, 2]));
        line.failed(Fault::Unavailable("refused".to_owned()), now);
        let end = now + seconds(3600);
        while now < end {
            match line.next(now) {
                Step::WaitUntil(until) => {
                    assert!(until - now <= seconds(2), "it is noticed soon when it is back");
                    now = until;
                }
                Step::AskHealth => assert_eq!(line.health(false, now), []),
                other => panic!("{other:?}"),
            }
            assert!(line.is_paused());
        }
        assert_eq!(next_batch(&mut line, &mut now), [1, 2]);
    }

    #[test]
    fn a_failure_while_the_service_is_not_healthy_counts_for_nothing() {
        let (mut line, mut now) = (with(&["a"]), Instant::now());
        for _ in 0..100 {
            assert_eq!(next_batch(&mut line, &mut now), [1]);
            line.failed(failed(), now);
            assert_eq!(line.next(now), Step::AskHealth);
            assert_eq!(line.health(false, now), []);
        }
    }

    #[test]
    fn one_poisonous_event_is_found_by_halving_delays_its_own_key_alone_and_dies_after_ten_failures() {
        let (mut line, mut now) = (line(), Instant::now());
        (1..=100).for_each(|tag| line.deliver(arrival(tag, &format!("k{}", tag % 50))));
        let mut acked = Vec::new();
        let mut dead = Vec::new();
        let mut posts = 0;
        while dead.is_empty() {
            let batch = next_batch(&mut line, &mut now);
            posts += 1;
            assert!(!batch.is_empty() && posts < 60);
            if batch.contains(&37) {
                line.failed(failed(), now);
                assert_eq!(line.next(now), Step::AskHealth);
                dead = line.health(true, now);
            } else {
                let all: Vec<_> = batch.iter().map(|tag| (*tag, Outcome::Processed)).collect();
                acked.extend(line.answered(&outcomes(&all), now));
            }
        }
        assert_eq!(
            dead,
            [Settled::Dead(37, "failed 10 times on its own: 500".to_owned())]
        );
        assert_eq!(acked.len(), 98, "all but itself and the one behind it");
        assert_eq!(next_batch(&mut line, &mut now), [87]);
    }

    #[test]
    fn an_event_without_an_outcome_is_not_acknowledged() {
        let (mut line, mut now) = (with(&["a", "b"]), Instant::now());
        line.next(now);
        assert_eq!(
            line.answered(&outcomes(&[(1, Outcome::Processed)]), now),
            [Settled::Ack(1)]
        );
        assert_eq!(line.next(now), Step::AskHealth);
        line.health(true, now);
        assert_eq!(next_batch(&mut line, &mut now), [2]);
    }

    proptest! {
        #[test]
        fn whatever_the_service_does_no_key_is_overtaken_and_every_event_is_settled_once(
            keys in proptest::collection::vec(0_u8..6, 1..80),
            seed in any::<u64>(),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut line, mut now) = (Line::new(LineSettings::for_prefetch(40), seed), Instant::now());
            let mut arrivals: VecDeque<_> = (1..).zip(&keys).collect();
            let mut last: HashMap<u8, Tag> = HashMap::new();
            let mut settled = HashSet::new();
            for step in 0..20_000 {
                if let Some((tag, key)) = arrivals.pop_front() {
                    line.deliver(arrival(tag, &key.to_string()));
                } else if line.oldest().is_none() {
                    break;
                }
                prop_assert!(step < 19_999, "it comes to an end");
                let done = match line.next(now) {
                    Step::Post(batch) if random.u8(..) < 60 => {
                        prop_assert!(batch.len() <= 20);
                        line.failed(if random.bool() { failed() } else { Fault::Unavailable(String::new()) }, now);
                        Vec::new()
                    }
                    Step::Post(batch) => {
                        // Once one of a key is to be retried, a service says so of the later ones of the batch too.
                        let mut stuck = HashSet::new();
                        let mut all = Vec::new();
                        for tag in batch {
                            let key = keys[tag as usize - 1];
                            let retry = stuck.contains(&key) || random.u8(..) < 80;
                            if retry {
                                stuck.insert(key);
                                all.push((tag, Outcome::Retry));
                            } else {
                                prop_assert!(last.insert(key, tag).is_none_or(|before| before < tag));
                                all.push((tag, if random.bool() { Outcome::Processed } else { Outcome::Rejected }));
                            }
                        }
                        line.answered(&outcomes(&all), now)
                    }
                    Step::AskHealth => line.health(random.bool(), now),
                    Step::WaitUntil(until) => {
                        now = until;
                        Vec::new()
                    }
                    Step::Wait => Vec::new(),
                };
                for one in done {
                    let tag = match one {
                        Settled::Ack(tag) => tag,
                        Settled::Dead(tag, _) => {
                            line.buried(tag);
                            tag
                        }
                    };
                    prop_assert!(settled.insert(tag));
                }
            }
            prop_assert_eq!(settled.len(), keys.len());
        }
    }
}
