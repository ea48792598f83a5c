//! How long to wait before trying again, and saying that something is down once instead of at every attempt.

use std::time::Duration;
use tracing::{info, warn};

/// `first · 2ⁿ`, at most `most`, with up to a fifth of it taken off at random so that many do not return at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row; zero counts as one.
    pub fn after(self, failures: u32, random: &mut fastrand::Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.most);
        full.mul_f64(1.0 - 0.2 * random.f64())
    }
}

/// Whether something that is needed is there. Logs one line for each change, and counts the failures in between.
#[derive(Debug)]
pub(crate) struct Condition {
    /// What it is, as it shows in the log.
    what: String,
    failures: u32,
    /// What kind of reason there is for it not to work now.
    kind: Option<String>,
}

impl Condition {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            failures: 0,
            kind: None,
        }
    }

    /// It works. Says so if it had not.
    pub(crate) fn up(&mut self) {
        if let Some(kind) = self.kind.take() {
            info!(what = %self.what, after_failures = self.failures, was = %kind, "works again");
        }
        self.failures = 0;
    }

    /// It does not work. Says so if it did, or if the reason is another one. Returns how often that was in a row.
    pub(crate) fn down(&mut self, reason: &str) -> u32 {
        self.down_as(reason, reason)
    }

    /// As `down`, for a reason whose words differ each time: only another `kind` is worth another line.
    pub(crate) fn down_as(&mut self, kind: &str, reason: &str) -> u32 {
        self.failures = self.failures.saturating_add(1);
        if self.kind.as_deref() != Some(kind) {
            warn!(what = %self.what, reason, "does not work; trying again");
            self.kind = Some(kind.to_owned());
        }
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_its_most_and_is_never_longer_than_it() {
        let backoff = Backoff {
            first: Duration::from_millis(200),
            most: Duration::from_secs(60),
        };
        let mut random = fastrand::Rng::with_seed(1);
        for (failures, full) in [
            (0, 200),
            (1, 200),
            (2, 400),
            (4, 1600),
            (10, 60_000),
            (u32::MAX, 60_000),
        ] {
            let full = Duration::from_millis(full);
            let wait = backoff.after(failures, &mut random);
            assert!(wait <= full && wait >= full.mul_f64(0.79), "{failures}: {wait:?}");
        }
    }
}
