//! The versions of a component: the one that serves, one that is tried beside it, and how another takes its place while
//! requests are answered.
//!
//! A version is a file, compiled, with instances of its own. A request goes to a version when it comes, and is answered
//! there: a version that serves no longer lives on until its last request is answered and its last instance has had
//! nothing to do for a while.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::SystemTime;

use metrics::{Counter, Gauge};

use crate::config::Canary;
use crate::identity::{Digest, Identity};
use crate::pool::{Pool, Refusal};
use crate::trial::{Side, Trial, Verdict};

/// A component's file, ready to serve.
pub(crate) struct Version {
    pub(crate) identity: Identity,
    pub(crate) pool: Pool,
}

/// What is to be done about a file with some digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stance {
    /// It serves.
    Serves,
    /// It serves, and another one, which was tried beside it, is no longer.
    TrialEnded,
    /// It is tried.
    OnTrial,
    /// It was tried and did worse.
    Condemned,
    /// It served before what serves: whoever wants it back wants it at once, and without a trial.
    Before,
    /// It is to be compiled and asked how it is.
    New,
}

/// What serves now.
#[derive(Clone)]
struct Current {
    version: Arc<Version>,
    trial: Option<(Arc<Version>, Arc<Trial>)>,
    /// What served before it.
    before: Option<Digest>,
    /// What was tried and did worse: it is not tried again as long as its file is there.
    condemned: Option<Digest>,
}

/// The versions of one component.
pub(crate) struct Versions {
    component: String,
    current: RwLock<Current>,
    since: Gauge,
    swapped: Outcome,
    refused: Outcome,
    taken_back: Outcome,
}

/// What a swap may come to: how often it did, and when it last did.
struct Outcome {
    count: Counter,
    last: Gauge,
}

impl Outcome {
    fn new(component: &str, outcome: &'static str) -> Outcome {
        Outcome {
            count: metrics::counter!(
                "embedded_host_swaps_total",
                "component" => component.to_owned(), "outcome" => outcome
            ),
            last: metrics::gauge!(
                "embedded_host_last_swap_seconds",
                "component" => component.to_owned(), "outcome" => outcome
            ),
        }
    }

    fn came(&self) {
        self.last.set(unix_seconds());
        self.count.increment(1);
    }
}

/// The version that answers a request. What it is never told of is a failure of that version: whoever asked has gone,
/// perhaps because it took too long.
pub(crate) struct Chosen<'a> {
    versions: &'a Versions,
    version: Arc<Version>,
    /// That was under way when the request came, and on whose side it was.
    trial: Option<(Arc<Trial>, Side)>,
}

impl Chosen<'_> {
    pub(crate) fn pool(&self) -> &Pool {
        &self.version.pool
    }

    /// What became of the request.
    pub(crate) fn answered<B>(mut self, answered: &Result<http::Response<B>, Refusal>) {
        self.count(is_failure(answered));
    }

    /// What becomes of the request says nothing of the version.
    pub(crate) fn uncounted(mut self) -> Self {
        self.trial = None;
        self
    }

    fn count(&mut self, failed: bool) {
        if let Some((trial, side)) = self.trial.take() {
            let verdict = trial.add(side, failed);
            if verdict != Verdict::Open {
                self.versions.end(&trial, verdict);
            }
        }
    }
}

/// Whether it counts against the version. So does a want of room, for each version has its own.
fn is_failure<B>(answered: &Result<http::Response<B>, Refusal>) -> bool {
    match answered {
        Ok(response) => response.status().is_server_error(),
        Err(Refusal::Busy | Refusal::Late | Refusal::Failed) => true,
    }
}

impl Drop for Chosen<'_> {
    fn drop(&mut self) {
        self.count(true);
    }
}

impl Versions {
    pub(crate) fn new(component: &str, first: Version) -> Versions {
        let versions = Versions {
            component: component.to_owned(),
            since: metrics::gauge!(
                "embedded_host_version_since_seconds",
                "component" => component.to_owned()
            ),
            swapped: Outcome::new(component, "done"),
            refused: Outcome::new(component, "refused"),
            taken_back: Outcome::new(component, "taken_back"),
            current: RwLock::new(Current {
                version: Arc::new(first),
                trial: None,
                before: None,
                condemned: None,
            }),
        };
        versions.show(&versions.current().version.identity, 1.0);
        versions.shows_since_now();
        versions
    }

    /// Of the one that serves.
    pub(crate) fn digest(&self) -> Digest {
        self.current().version.identity.digest
    }

    /// What to do about a file with this digest, which is what there is now. Back to what serves ends a trial.
    pub(crate) fn stance(&self, digest: Digest) -> Stance {
        let mut current = self.write();
        if digest == current.version.identity.digest {
            current.condemned = None;
            return match self.stop_trial(&mut current) {
                Some(_) => Stance::TrialEnded,
                None => Stance::Serves,
            };
        }
        let on_trial = current.trial.as_ref().map(|(version, _)| version.identity.digest);
        match Some(digest) {
            known if known == on_trial => Stance::OnTrial,
            known if known == current.condemned => Stance::Condemned,
            known if known == current.before => Stance::Before,
            _ => Stance::New,
        }
    }

    /// Who answers the next request.
    pub(crate) fn choose(&self) -> Chosen<'_> {
        let current = self.current();
        let side = current.trial.as_ref().map(|(_, trial)| trial.choose());
        match (current.trial, side) {
            (Some((version, trial)), Some(Side::OnTrial)) => Chosen {
                versions: self,
                version,
                trial: Some((trial, Side::OnTrial)),
            },
            (trial, _) => Chosen {
                versions: self,
                version: current.version,
                trial: trial.map(|(_, trial)| (trial, Side::Serving)),
            },
        }
    }

    /// Has another one serve from now on, or be tried beside the one that serves. Whatever was on trial is no longer.
    pub(crate) fn replace(&self, next: Version, canary: Option<Canary>) {
        let mut current = self.write();
        self.stop_trial(&mut current);
        current.condemned = None;
        match canary {
            Some(canary) => {
                self.show(&next.identity, canary.share);
                self.show(&current.version.identity, 1.0 - canary.share);
                current.trial = Some((Arc::new(next), Arc::new(Trial::new(canary))));
            }
            None => self.serve(&mut current, Arc::new(next)),
        }
    }

    /// Another one would not do.
    pub(crate) fn refuse(&self) {
        self.refused.came();
    }

    fn end(&self, trial: &Arc<Trial>, verdict: Verdict) {
        let mut current = self.write();
        // Whoever comes later than another with a verdict finds it carried out.
        let is_under_way = |(_, now): &(Arc<Version>, Arc<Trial>)| Arc::ptr_eq(now, trial);
        if !current.trial.as_ref().is_some_and(is_under_way) {
            return;
        }
        let Some(tried) = self.stop_trial(&mut current) else {
            return;
        };
        let (its, others) = trial.counts();
        // The line first: whoever sees the counter finds it.
        if verdict == Verdict::Serves {
            let Identity { digest, number } = &tried.identity;
            tracing::info!(
                component = %self.component, sha256 = %digest, version = number,
                "another version serves: it did as well"
            );
            self.serve(&mut current, tried);
        } else {
            current.condemned = Some(tried.identity.digest);
            tracing::error!(
                component = %self.component, serves = %current.version.identity.digest,
                taken_back = %tried.identity.digest,
                errors = its.errors, answers = its.answers,
                others_errors = others.errors, others_answers = others.answers,
                "a version did worse and was taken back"
            );
            self.taken_back.came();
        }
    }

    fn serve(&self, current: &mut Current, next: Arc<Version>) {
        self.show(&current.version.identity, 0.0);
        self.show(&next.identity, 1.0);
        self.shows_since_now();
        self.swapped.came();
        // Whoever went back has to try again what was not good enough.
        let goes_back = current.before == Some(next.identity.digest);
        current.before = (!goes_back).then_some(current.version.identity.digest);
        current.version = next;
    }

    /// Gives what was on trial.
    fn stop_trial(&self, current: &mut Current) -> Option<Arc<Version>> {
        let (tried, _) = current.trial.take()?;
        self.show(&tried.identity, 0.0);
        self.show(&current.version.identity, 1.0);
        Some(tried)
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

    fn show(&self, identity: &Identity, share: f64) {
        metrics::gauge!(
            "embedded_host_version",
            "component" => self.component.clone(),
            "sha256" => identity.digest.to_string(),
            "version" => identity.number.clone()
        )
        .set(share);
    }

    fn shows_since_now(&self) {
        self.since.set(unix_seconds());
    }
}

fn unix_seconds() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// Help texts, once.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        "embedded_host_version",
        "Which part of a component's requests the version with this SHA-256 (and this number, if it says one) has: 1 if it \
         serves alone, 0 if it did before"
    );
    metrics::describe_gauge!(
        "embedded_host_version_since_seconds",
        metrics::Unit::Seconds,
        "Since when the component's version serves, as seconds since 1970"
    );
    metrics::describe_gauge!(
        "embedded_host_last_swap_seconds",
        metrics::Unit::Seconds,
        "When a swap of the component last came to this outcome, as seconds since 1970; 0 if none did"
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

    #[test]
    fn errors_of_the_server_and_refusals_of_all_kinds_count_against_a_version() {
        let with = |status| {
            http::Response::builder()
                .status(status)
                .body(())
                .map_err(|_| Refusal::Failed)
        };
        for status in [200, 304, 404, 429] {
            assert!(!is_failure(&with(status)), "{status}");
        }
        for status in [500, 503] {
            assert!(is_failure(&with(status)), "{status}");
        }
        for refusal in [Refusal::Busy, Refusal::Late, Refusal::Failed] {
            assert!(is_failure::<()>(&Err(refusal)), "{refusal:?}");
        }
    }
}
