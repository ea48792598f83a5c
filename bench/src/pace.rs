//! How long and how often each thing is measured.

use std::time::Duration;

/// Durations and counts of all parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How often the two sides of a comparison take turns.
    pub(crate) rounds: usize,
    /// Load before each run that is not measured.
    pub(crate) warm_up: Duration,
    /// One run.
    pub(crate) run: Duration,
    /// Orders that are placed one at a time.
    pub(crate) single_orders: usize,
    /// How long a stream of orders is posted.
    pub(crate) stream: Duration,
    /// How long pgbench runs.
    pub(crate) pgbench: Duration,
    /// Processed rows beside those that are due.
    pub(crate) processed_rows: u64,
    /// Polls of each outbox table.
    pub(crate) polls: usize,
    /// How long the idle shop is watched.
    pub(crate) idle: Duration,
}

impl Pace {
    /// What results are made with: about seven minutes.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 5,
            warm_up: Duration::from_secs(1),
            run: Duration::from_secs(3),
            single_orders: 100,
            stream: Duration::from_secs(20),
            pgbench: Duration::from_secs(5),
            processed_rows: 1_000_000,
            polls: 500,
            idle: Duration::from_secs(60),
        }
    }

    /// A look in about one minute and a half.
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 3,
            warm_up: Duration::from_millis(300),
            run: Duration::from_secs(1),
            single_orders: 30,
            stream: Duration::from_secs(5),
            pgbench: Duration::from_secs(2),
            processed_rows: 100_000,
            polls: 200,
            idle: Duration::from_secs(15),
        }
    }
}
