//! A version on trial: which requests it has, how its answers compare with those of the version that serves, and what
//! follows from that.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::config::Canary;

/// A version on trial is judged by its errors from so many on: one may have happened to anybody.
const ERRORS_TO_JUDGE: u64 = 3;
/// And only beside so many answers of the version that serves.
const ANSWERS_TO_COMPARE: u64 = 3;
/// By how many standard deviations its part of errors must lie above the other's to count as worse.
const WORSE_DEVIATIONS: f64 = 3.0;
/// So many good answers it must have given before it serves alone.
const ANSWERS_TO_TRUST: u64 = 20;
/// Multiples of it, each without its whole part, lie evenly and in no period (the golden ratio's).
const STRIDE: f64 = 0.618_033_988_749_894_9;

/// Which of two versions a request went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Serving,
    OnTrial,
}

/// What becomes of a version on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Open,
    Serves,
    TakenBack,
}

/// The answers of one version since the trial began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) answers: u64,
    pub(crate) errors: u64,
}

#[derive(Default)]
struct Tally {
    answers: AtomicU64,
    errors: AtomicU64,
}

impl Tally {
    fn add(&self, failed: bool) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        let errors = self.errors.load(Ordering::Relaxed);
        Counts {
            errors,
            // Another answer may have been counted in between, never its error alone.
            answers: self.answers.load(Ordering::Relaxed).max(errors),
        }
    }
}

/// A comparison under way.
pub(crate) struct Trial {
    canary: Canary,
    until: Instant,
    /// Requests that came since it began.
    requests: AtomicU64,
    tried: Tally,
    serving: Tally,
}

impl Trial {
    pub(crate) fn new(canary: Canary) -> Trial {
        Trial {
            canary,
            until: Instant::now() + canary.time,
            requests: AtomicU64::new(0),
            tried: Tally::default(),
            serving: Tally::default(),
        }
    }

    /// Who gets the next request. In no period: requests come in periods themselves, and one of the two would get all of
    /// a kind.
    pub(crate) fn choose(&self) -> Side {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        match (number as f64 * STRIDE).fract() < self.canary.share {
            true => Side::OnTrial,
            false => Side::Serving,
        }
    }

    pub(crate) fn add(&self, side: Side, failed: bool) -> Verdict {
        match side {
            Side::Serving => self.serving.add(failed),
            Side::OnTrial => self.tried.add(failed),
        }
        self.verdict(Instant::now())
    }

    /// Those of the version on trial, then those of the one that serves.
    pub(crate) fn counts(&self) -> (Counts, Counts) {
        (self.tried.counts(), self.serving.counts())
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let (tried, serving) = self.counts();
        if is_worse(tried, serving) {
            return Verdict::TakenBack;
        }
        let is_trusted = tried.answers - tried.errors >= ANSWERS_TO_TRUST;
        match now >= self.until && is_trusted {
            true => Verdict::Serves,
            false => Verdict::Open,
        }
    }
}

/// Whether more of the one's answers are errors than of the other's, and not by chance: a one-sided test of two
/// proportions with their common variance.
fn is_worse(tried: Counts, serving: Counts) -> bool {
    if tried.errors < ERRORS_TO_JUDGE || serving.answers < ANSWERS_TO_COMPARE {
        return false;
    }
    let (n, m) = (tried.answers as f64, serving.answers as f64);
    let difference = tried.errors as f64 / n - serving.errors as f64 / m;
    let common = (tried.errors + serving.errors) as f64 / (n + m);
    let deviation = (common * (1.0 - common) * (1.0 / n + 1.0 / m)).sqrt();
    difference > 0.0 && difference >= WORSE_DEVIATIONS * deviation
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn trial(share: f64, seconds: u64) -> Trial {
        Trial::new(Canary {
            share,
            time: Duration::from_secs(seconds),
        })
    }

    fn counts(errors: u64, answers: u64) -> Counts {
        Counts { answers, errors }
    }

    #[test]
    fn worse_is_what_can_hardly_be_chance() {
        assert!(is_worse(counts(3, 3), counts(0, 27)), "nothing but errors");
        assert!(is_worse(counts(10, 100), counts(9, 900)));
        assert!(!is_worse(counts(2, 2), counts(0, 18)), "too few to judge");
        assert!(!is_worse(counts(9, 9), counts(0, 2)), "too few to compare with");
        assert!(!is_worse(counts(0, 100), counts(90, 900)), "better");
        assert!(!is_worse(counts(10, 100), counts(90, 900)), "as bad as the other");
        assert!(
            !is_worse(counts(12, 100), counts(90, 900)),
            "a little, perhaps by chance"
        );
        assert!(
            !is_worse(counts(50, 50), counts(50, 50)),
            "everything fails everywhere"
        );
    }

    #[test]
    fn a_share_is_kept_whatever_the_period_of_requests() {
        for share in [0.1, 0.25, 0.5, 0.9] {
            for period in 1..=10 {
                let trial = trial(share, 60);
                let sides: Vec<Side> = (0..10_000).map(|_| trial.choose()).collect();
                let of_a_kind = sides.iter().step_by(period);
                let on_trial = of_a_kind.clone().filter(|side| **side == Side::OnTrial);
                let part = on_trial.count() as f64 / of_a_kind.count() as f64;
                assert!(
                    (part - share).abs() < 0.02,
                    "{part} instead of {share}, every {period}th"
                );
            }
        }
    }

    #[test]
    fn one_that_does_as_well_serves_after_enough_good_answers() {
        let trial = trial(0.5, 0);
        for _ in 0..19 {
            assert_eq!(trial.add(Side::OnTrial, false), Verdict::Open);
        }
        assert_eq!(trial.add(Side::Serving, false), Verdict::Open, "too few answers");
        assert_eq!(trial.add(Side::OnTrial, false), Verdict::Serves);
    }

    #[test]
    fn one_that_does_as_well_is_watched_for_its_time() {
        let trial = trial(0.5, 60);
        for _ in 0..100 {
            assert_eq!(trial.add(Side::OnTrial, false), Verdict::Open);
            assert_eq!(trial.add(Side::Serving, false), Verdict::Open);
        }
    }

    #[test]
    fn where_everything_fails_nobody_takes_over() {
        let trial = trial(0.5, 0);
        for _ in 0..100 {
            assert_eq!(trial.add(Side::Serving, true), Verdict::Open);
            assert_eq!(trial.add(Side::OnTrial, true), Verdict::Open);
        }
    }

    #[test]
    fn one_that_does_worse_is_taken_back_at_once() {
        let trial = trial(0.1, 60);
        for _ in 0..27 {
            trial.add(Side::Serving, false);
        }
        assert_eq!(trial.add(Side::OnTrial, true), Verdict::Open);
        assert_eq!(trial.add(Side::OnTrial, true), Verdict::Open);
        assert_eq!(trial.add(Side::OnTrial, true), Verdict::TakenBack);
        assert_eq!(trial.counts(), (counts(3, 3), counts(0, 27)));
    }
}
