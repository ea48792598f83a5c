//! A circuit breaker as a pure state machine: whether a request may go to a service that failed, by what is known of
//! it and by the time. Where the state is kept and who shares it is not its business.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// So many failures in a row, with no success between them, open it …
const FAILURES: u32 = 5;

/// … if no more than this passed since the first.
const WINDOW: Duration = Duration::from_secs(30);

/// How long it stays open before somebody finds out whether the service is back.
const PAUSE: Duration = Duration::from_secs(5);

/// When to come back while somebody finds out.
const SOON: Duration = Duration::from_secs(1);

/// A moment, in whole milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    /// The time from `earlier` to this; nothing if it is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        Self(millis(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The breaker of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// All requests may go. So many failed in a row, the first of them then.
    Closed { failures: u32, since: Moment },
    /// None may go until then.
    Open { until: Moment },
    /// One has gone to find out. It is given up then.
    HalfOpen { until: Moment },
}

/// Whether a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Go,
    /// It may, and all others wait for what becomes of it, until it is given up then.
    Probe(Moment),
    /// It may not, for about so long.
    Wait(Duration),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered, whatever it said.
    Answered,
    Failed,
}

impl Breaker {
    /// Nothing is known, and nothing is wrong.
    pub const CLOSED: Self = Self::Closed {
        failures: 0,
        since: Moment(0),
    };

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }

    /// Whether a request may go, and the breaker after it asked. A probe is given up after `patience`.
    #[must_use]
    pub fn ask(self, now: Moment, patience: Duration) -> (Word, Self) {
        let wait = match self {
            Self::Closed { .. } => return (Word::Go, self),
            // Whoever opened it may have another clock.
            Self::Open { until } => until.since(now).min(PAUSE),
            Self::HalfOpen { until } => until.since(now).min(SOON),
        };
        if wait.is_zero() {
            let until = now.plus(patience);
            (Word::Probe(until), Self::HalfOpen { until })
        } else {
            (Word::Wait(wait), self)
        }
    }

    /// The breaker after a request came back that went as this `probe`, or was free to go.
    #[must_use]
    pub fn tell(self, now: Moment, outcome: Outcome, probe: Option<Moment>) -> Self {
        match (self, outcome) {
            (Self::Closed { .. }, Outcome::Answered) => Self::CLOSED,
            (Self::Closed { failures, since }, Outcome::Failed) => {
                let goes_on = failures > 0 && now.since(since) <= WINDOW;
                let (failures, since) = if goes_on { (failures + 1, since) } else { (1, now) };
                if failures < FAILURES {
                    Self::Closed { failures, since }
                } else {
                    Self::Open {
                        until: now.plus(PAUSE),
                    }
                }
            }
            (Self::HalfOpen { until }, Outcome::Answered) if probe == Some(until) => Self::CLOSED,
            (Self::HalfOpen { until }, Outcome::Failed) if probe == Some(until) => Self::Open {
                until: now.plus(PAUSE),
            },
            // It went before the breaker opened, or was given up, and says nothing new.
            (Self::Open { .. } | Self::HalfOpen { .. }, _) => self,
        }
    }

    /// What [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u64>().ok();
        match text.split(' ').collect::<Vec<_>>().as_slice() {
            [""] => Some(Self::CLOSED),
            ["closed", failures, since] => Some(Self::Closed {
                failures: failures.parse().ok().filter(|failures| *failures < FAILURES)?,
                since: Moment(number(since)?),
            }),
            ["open", until] => Some(Self::Open {
                until: Moment(number(until)?),
            }),
            ["half-open", until] => Some(Self::HalfOpen {
                until: Moment(number(until)?),
            }),
            _ => None,
        }
    }
}

/// One line, for whoever shares it; nothing where nothing is wrong.
impl fmt::Display for Breaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Closed { failures: 0, .. } => Ok(()),
            Self::Closed { failures, since } => write!(formatter, "{name} {failures} {}", since.0),
            Self::Open { until } | Self::HalfOpen { until } => write!(formatter, "{name} {}", until.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(11);
    const START: Moment = Moment(1_700_000_000_000);

    fn after_failures(count: u32) -> Breaker {
        (0..count).fold(Breaker::CLOSED, |breaker, _| {
            breaker.tell(START, Outcome::Failed, None)
        })
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_that_is_answered_closes_it() {
        assert_eq!(after_failures(FAILURES - 1).name(), "closed");
        let open = after_failures(FAILURES);
        assert_eq!(open.ask(START, PATIENCE), (Word::Wait(PAUSE), open));

        let later = START.plus(PAUSE);
        let given_up = later.plus(PATIENCE);
        let (word, half_open) = open.ask(later, PATIENCE);
        assert_eq!((word, half_open.name()), (Word::Probe(given_up), "half-open"));
        assert_eq!(half_open.ask(later, PATIENCE), (Word::Wait(SOON), half_open));
        assert_eq!(
            half_open.tell(later, Outcome::Failed, Some(given_up)),
            Breaker::Open {
                until: later.plus(PAUSE)
            }
        );
        assert_eq!(
            half_open.tell(later, Outcome::Answered, Some(given_up)),
            Breaker::CLOSED
        );
    }

    #[test]
    fn an_answer_between_failures_begins_the_count_anew() {
        let almost = after_failures(FAILURES - 1);
        assert_eq!(almost.tell(START, Outcome::Answered, None), Breaker::CLOSED);
    }

    #[test]
    fn failures_long_ago_do_not_count() {
        let late = START.plus(WINDOW + Duration::from_millis(1));
        let breaker = after_failures(FAILURES - 1).tell(late, Outcome::Failed, None);
        assert_eq!(
            breaker,
            Breaker::Closed {
                failures: 1,
                since: late
            }
        );
    }

    #[test]
    fn what_went_before_it_opened_neither_closes_it_nor_keeps_it_open() {
        let open = after_failures(FAILURES);
        for outcome in [Outcome::Answered, Outcome::Failed] {
            assert_eq!(open.tell(START, outcome, None), open);
        }
        let (_, half_open) = open.ask(START.plus(PAUSE), PATIENCE);
        for outcome in [Outcome::Answered, Outcome::Failed] {
            assert_eq!(half_open.tell(START, outcome, None), half_open);
        }
    }

    #[test]
    fn a_probe_that_does_not_come_back_is_given_up_and_counts_no_more() {
        let (first, half_open) = after_failures(FAILURES).ask(START.plus(PAUSE), PATIENCE);
        let given_up = START.plus(PAUSE + PATIENCE);
        assert_eq!(first, Word::Probe(given_up));
        let (second, half_open) = half_open.ask(given_up, PATIENCE);
        assert_eq!(second, Word::Probe(given_up.plus(PATIENCE)));
        for outcome in [Outcome::Answered, Outcome::Failed] {
            assert_eq!(half_open.tell(given_up, outcome, Some(given_up)), half_open);
        }
    }

    #[test]
    fn a_clock_far_ahead_keeps_nobody_waiting_for_longer_than_a_pause() {
        let open = Breaker::Open {
            until: START.plus(Duration::from_secs(3_600)),
        };
        assert_eq!(open.ask(START, PATIENCE).0, Word::Wait(PAUSE));
    }

    #[test]
    fn what_is_no_breaker_is_not_read() {
        for text in [
            "x",
            "open",
            "open x",
            "open -1",
            "open 1 2",
            "closed 5 1",
            "closed 1",
            "half-open ",
        ] {
            assert_eq!(Breaker::parse(text), None, "{text}");
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pass(u64),
        Ask,
        /// Of those under way, the one at this place comes back.
        Return(prop::sample::Index, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..8_000_u64).prop_map(Step::Pass),
            Just(Step::Ask),
            (any::<prop::sample::Index>(), prop::bool::weighted(0.3))
                .prop_map(|(index, answered)| Step::Return(index, answered)),
        ]
    }

    proptest! {
        #[test]
        fn however_requests_go_and_come_back(steps in prop::collection::vec(step(), 1..200)) {
            let (mut breaker, mut now) = (Breaker::CLOSED, START);
            // Who is under way: when it went, and whether as a probe.
            let mut under_way: Vec<(Moment, Option<Moment>)> = Vec::new();
            let mut row = 0;
            for step in steps {
                match step {
                    Step::Pass(ms) => now = now.plus(Duration::from_millis(ms)),
                    Step::Ask => {
                        let (word, next) = breaker.ask(now, PATIENCE);
                        match word {
                            Word::Go => {
                                prop_assert_eq!(breaker.name(), "closed");
                                under_way.push((now, None));
                            }
                            Word::Probe(until) => {
                                // One at a time, unless the last was given up.
                                let probes = under_way.iter().filter(|(went, probe)| {
                                    probe.is_some() && now.since(*went) < PATIENCE
                                });
                                prop_assert_eq!(probes.count(), 0);
                                under_way.push((now, Some(until)));
                            }
                            Word::Wait(time) => {
                                prop_assert!(!time.is_zero() && time <= PAUSE);
                                prop_assert_eq!(next, breaker);
                            }
                        }
                        breaker = next;
                    }
                    Step::Return(index, answered) => {
                        if under_way.is_empty() {
                            continue;
                        }
                        let (_, probe) = under_way.swap_remove(index.index(under_way.len()));
                        let outcome = if answered { Outcome::Answered } else { Outcome::Failed };
                        let next = breaker.tell(now, outcome, probe);
                        if breaker.name() == "closed" {
                            row = if answered { 0 } else { row + 1 };
                            // It opens for failures in a row alone, and an answer never opens it.
                            prop_assert!(next.name() == "closed" || (!answered && row >= FAILURES));
                        } else if probe.is_none() {
                            prop_assert_eq!(next, breaker);
                        }
                        if next.name() != "closed" {
                            row = 0;
                        }
                        breaker = next;
                    }
                }
                prop_assert_eq!(Breaker::parse(&breaker.to_string()), Some(breaker));
            }
        }
    }
}
