//! The versions of a component: the one that serves, and how another takes its place while requests are answered.
//!
//! A version is a file, compiled, with instances of its own. A request goes to the version that serves when it comes, and
//! is answered there: the version before lives on until its last request is answered and its last instance has had nothing
//! to do for a while.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use metrics::{Counter, Gauge};

use crate::engine::Digest;
use crate::pool::Pool;

/// A component's file, ready to serve.
pub(crate) struct Version {
    pub(crate) digest: Digest,
    pub(crate) pool: Pool,
}

/// What serves.
pub(crate) struct Versions {
    component: String,
    current: RwLock<Arc<Version>>,
    since: Gauge,
    swaps: Counter,
    refused: Counter,
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
            current: RwLock::new(Arc::new(first)),
            since: metrics::gauge!(
                "embedded_host_version_since_seconds",
                "component" => component.to_owned()
            ),
            swaps: swaps("done"),
            refused: swaps("refused"),
        };
        versions.show(versions.current().digest, true);
        versions
    }

    /// The one that serves now.
    pub(crate) fn current(&self) -> Arc<Version> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Has another one serve from now on.
    pub(crate) fn replace(&self, next: Version) {
        let digest = next.digest;
        let before = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(next))
        };
        self.show(before.digest, false);
        self.show(digest, true);
        self.swaps.increment(1);
    }

    /// Another one would not do.
    pub(crate) fn refuse(&self) {
        self.refused.increment(1);
    }

    fn show(&self, digest: Digest, serves: bool) {
        metrics::gauge!(
            "embedded_host_version",
            "component" => self.component.clone(), "sha256" => digest.to_string()
        )
        .set(f64::from(u8::from(serves)));
        if serves {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            self.since.set(now.unwrap_or_default().as_secs_f64());
        }
    }
}

/// Help texts, once.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        "embedded_host_version",
        "1 for the version of a component that serves, by the SHA-256 of its file; 0 for those that did before"
    );
    metrics::describe_gauge!(
        "embedded_host_version_since_seconds",
        metrics::Unit::Seconds,
        "Since when the component's version serves, as seconds since 1970"
    );
    metrics::describe_counter!(
        "embedded_host_swaps_total",
        "Versions of a component that took the place of another while it ran, or would not do"
    );
}
