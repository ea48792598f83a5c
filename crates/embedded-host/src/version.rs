//! The versions of a component: the one that serves, one that is tried beside it, and how another takes its place while
//! requests are answered.
//!
//! A version is a file, compiled, with instances of its own. A request goes to a version when it comes, and is answered
//! there: a version that serves no longer lives on until its last request is answered and its last instance has had
//! nothing to do for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::SystemTime;

use metrics::{Counter, Gauge};
use tokio::time::Instant;

use crate::config::Canary;
use crate::engine::Digest;
use crate::pool::Pool;

/// A version on trial is judged by its errors from so many on: one may have happened to anybody.
const ERRORS_TO_JUDGE: u64 = 3;
/// By how many standard deviations its part of errors must lie above the other's to count as worse.
const WORSE_DEVIATIONS: f64 = 3.0;
/// So many answers it must have given before it serves alone.
const ANSWERS_TO_TRUST: u64 = 20;

/// A component's file, ready to serve.
pub(crate) struct Version {
    pub(crate) digest: Digest,
    pub(crate) pool: Pool,
}

/// Answers of one version since the trial began.
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
        // Errors first: they are then never more than the answers.
        let errors = self.errors.load(Ordering::Relaxed);
        Counts {
            errors,
            answers: self.answers.load(Ordering::Relaxed).max(errors),
        }
    }
}

#[derive(Clone, Copy)]
struct Counts {
    answers: u64,
    errors: u64,
}

/// What becomes of a version on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    Serves,
    TakenBack,
}

/// A version that has a share of the requests until it is known whether it does as well as the one that serves.
struct Trial {
    version: Arc<Version>,
    canary: Canary,
    until: Instant,
    /// Requests that came since it began.
    requests: AtomicU64,
    tried: Tally,
    serving: Tally,
}

impl Trial {
    fn new(version: Version, canary: Canary) -> Trial {
        Trial {
            version: Arc::new(version),
            canary,
            until: Instant::now() + canary.time,
            requests: AtomicU64::new(0),
            tried: Tally::default(),
            serving: Tally::default(),
        }
    }

    /// Whether the next request is for the version on trial: each time its share of all has grown by one.
    fn takes_next(&self) -> bool {
        takes_next(&self.requests, self.canary.share)
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let (tried, serving) = (self.tried.counts(), self.serving.counts());
        if is_worse(tried, serving) {
            return Verdict::TakenBack;
        }
        match now >= self.until && tried.answers >= ANSWERS_TO_TRUST {
            true => Verdict::Serves,
            false => Verdict::Open,
        }
    }
}

fn takes_next(requests: &AtomicU64, share: f64) -> bool {
    let before = requests.fetch_add(1, Ordering::Relaxed) as f64;
    ((before + 1.0) * share).floor() > (before * share).floor()
}

/// Whether more of the one's answers are errors than of the other's, and not by chance: a one-sided test of two
/// proportions with their common variance.
fn is_worse(tried: Counts, serving: Counts) -> bool {
    if tried.errors < ERRORS_TO_JUDGE {
        return false;
    }
    let (n, m) = (tried.answers as f64, serving.answers.max(1) as f64);
    let difference = tried.errors as f64 / n - serving.errors as f64 / m;
    let common = (tried.errors + serving.errors) as f64 / (n + m);
    let deviation = (common * (1.0 - common) * (1.0 / n + 1.0 / m)).sqrt();
    difference > 0.0 && difference >= WORSE_DEVIATIONS * deviation
}

/// What serves now.
#[derive(Clone)]
struct Current {
    version: Arc<Version>,
    trial: Option<Arc<Trial>>,
}

/// Who answers a request, and what its answer is counted for.
pub(crate) struct Chosen {
    pub(crate) version: Arc<Version>,
    trial: Option<Arc<Trial>>,
}

/// The versions of one component.
pub(crate) struct Versions {
    component: String,
    current: RwLock<Current>,
    since: Gauge,
    swapped: Counter,
    refused: Counter,
    taken_back: Counter,
}

impl Versions {
    pub(crate) fn new(component: &str, first: Version) -> Versions {
        let swaps = |outcome: &'static str| {
            metrics::counter!(
                "embedded_host_swaps_total",
                "component" => component.to_owned(), "outcome" => outcome
            )
        };
        let versions = Versions {
            component: component.to_owned(),
            since: metrics::gauge!(
                "embedded_host_version_since_seconds",
                "component" => component.to_owned()
            ),
            swapped: swaps("done"),
            refused: swaps("refused"),
            taken_back: swaps("taken_back"),
            current: RwLock::new(Current {
                version: Arc::new(first),
                trial: None,
            }),
        };
        versions.show(versions.digest(), 1.0);
        versions.shows_since_now();
        versions
    }

    /// What is known by this was the last that was put in place, be it on trial or not.
    pub(crate) fn newest(&self) -> Digest {
        let current = self.current();
        let trial = current.trial.map(|trial| trial.version.digest);
        trial.unwrap_or(current.version.digest)
    }

    /// The one that serves.
    pub(crate) fn digest(&self) -> Digest {
        self.current().version.digest
    }

    /// Who answers the next request.
    pub(crate) fn choose(&self) -> Chosen {
        let current = self.current();
        let version = match &current.trial {
            Some(trial) if trial.takes_next() => Arc::clone(&trial.version),
            _ => current.version,
        };
        Chosen {
            version,
            trial: current.trial,
        }
    }

    /// What became of a request; of a trial that was under way when it came, this may be the end.
    pub(crate) fn answered(&self, chosen: &Chosen, failed: bool) {
        let Some(trial) = &chosen.trial else {
            return;
        };
        let tally = match Arc::ptr_eq(&chosen.version, &trial.version) {
            true => &trial.tried,
            false => &trial.serving,
        };
        tally.add(failed);
        let verdict = trial.verdict(Instant::now());
        if verdict != Verdict::Open {
            self.end(trial, verdict);
        }
    }

    /// Has another one serve from now on, or be tried beside the one that serves. Whatever was on trial is no longer.
    pub(crate) fn replace(&self, next: Version, canary: Option<Canary>) {
        let mut current = self.write();
        self.stop_trial(&mut current);
        match canary {
            // Back to what serves: the end of the trial was all there was to do.
            _ if next.digest == current.version.digest => {}
            Some(canary) => {
                self.show(next.digest, canary.share);
                self.show(current.version.digest, 1.0 - canary.share);
                current.trial = Some(Arc::new(Trial::new(next, canary)));
            }
            None => self.serve(&mut current, Arc::new(next)),
        }
    }

    /// Another one would not do.
    pub(crate) fn refuse(&self) {
        self.refused.increment(1);
    }

    fn end(&self, trial: &Arc<Trial>, verdict: Verdict) {
        let mut current = self.write();
        // Whoever comes later than another with the same verdict finds it carried out.
        if !current.trial.as_ref().is_some_and(|now| Arc::ptr_eq(now, trial)) {
            return;
        }
        let (tried, serving) = (trial.tried.counts(), trial.serving.counts());
        let sha256 = trial.version.digest;
        self.stop_trial(&mut current);
        if verdict == Verdict::Serves {
            self.serve(&mut current, Arc::clone(&trial.version));
            tracing::info!(component = %self.component, %sha256, "another version serves: it did as well");
        } else {
            self.taken_back.increment(1);
            tracing::error!(
                component = %self.component, serves = %current.version.digest, taken_back = %sha256,
                errors = tried.errors, answers = tried.answers,
                others_errors = serving.errors, others_answers = serving.answers,
                "a version did worse and was taken back"
            );
        }
    }

    fn serve(&self, current: &mut Current, next: Arc<Version>) {
        self.show(current.version.digest, 0.0);
        self.show(next.digest, 1.0);
        self.shows_since_now();
        self.swapped.increment(1);
        current.version = next;
    }

    fn stop_trial(&self, current: &mut Current) {
        if let Some(trial) = current.trial.take() {
            self.show(trial.version.digest, 0.0);
            self.show(current.version.digest, 1.0);
        }
    }

    fn current(&self) -> Current {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Current> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, digest: Digest, share: f64) {
        metrics::gauge!(
            "embedded_host_version",
            "component" => self.component.clone(), "sha256" => digest.to_string()
        )
        .set(share);
    }

    fn shows_since_now(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.since.set(now.unwrap_or_default().as_secs_f64());
    }
}

/// Help texts, once.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        "embedded_host_version",
        "Which part of a component's requests the version with this SHA-256 has: 1 if it serves alone, 0 if it did before"
    );
    metrics::describe_gauge!(
        "embedded_host_version_since_seconds",
        metrics::Unit::Seconds,
        "Since when the component's version serves, as seconds since 1970"
    );
    metrics::describe_counter!(
        "embedded_host_swaps_total",
        "Versions of a component that took the place of another while it ran (done), would not do (refused), or did worse \
         on trial (taken_back)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(errors: u64, answers: u64) -> Counts {
        Counts { answers, errors }
    }

    #[test]
    fn worse_is_what_can_hardly_be_chance() {
        assert!(is_worse(counts(3, 3), counts(0, 27)), "nothing but errors");
        assert!(is_worse(counts(10, 100), counts(9, 900)));
        assert!(!is_worse(counts(2, 2), counts(0, 18)), "too few to judge");
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
    fn a_share_is_kept_exactly() {
        for (share, of_a_thousand) in [(0.1, 100), (0.25, 250), (1.0, 1_000), (0.001, 1)] {
            let requests = AtomicU64::new(0);
            let taken = (0..1_000).filter(|_| takes_next(&requests, share)).count();
            assert_eq!(taken, of_a_thousand, "{share}");
        }
    }
}
