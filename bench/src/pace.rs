//! How long, how often and with how much each thing is measured.

use std::time::Duration;

/// Durations and counts of all parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How often the two sides of a comparison take turns.
    pub(crate) rounds: usize,
    /// The same where one turn takes its time.
    pub(crate) long_rounds: usize,
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
    /// Rows that wait for the relays at the start of a run.
    pub(crate) relay_rows: u64,
    /// Rows that come alone into an idle outbox.
    pub(crate) lone_rows: usize,
    /// Orders that an outage leaves behind.
    pub(crate) backlog: u64,
    /// Orders, and processed outbox rows, of a shop with a past.
    pub(crate) past: u64,
    /// Polls of each outbox table.
    pub(crate) polls: usize,
    /// How long the idle shop is watched.
    pub(crate) idle: Duration,
    /// How long orders come while components are swapped.
    pub(crate) swapping: Duration,
    /// How often each component is swapped in that time.
    pub(crate) swaps: usize,
}

impl Pace {
    /// What results are made with: about half an hour.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 5,
            long_rounds: 3,
            warm_up: Duration::from_secs(1),
            run: Duration::from_secs(3),
            single_orders: 100,
            stream: Duration::from_secs(15),
            pgbench: Duration::from_secs(10),
            relay_rows: 200_000,
            lone_rows: 200,
            backlog: 100_000,
            past: 1_000_000,
            polls: 500,
            idle: Duration::from_secs(60),
            swapping: Duration::from_secs(60),
            swaps: 20,
        }
    }

    /// A look in a few minutes.
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 3,
            long_rounds: 2,
            warm_up: Duration::from_millis(300),
            run: Duration::from_secs(1),
            single_orders: 30,
            stream: Duration::from_secs(5),
            pgbench: Duration::from_secs(3),
            relay_rows: 20_000,
            lone_rows: 30,
            backlog: 10_000,
            past: 100_000,
            polls: 200,
            idle: Duration::from_secs(15),
            swapping: Duration::from_secs(15),
            swaps: 4,
        }
    }
}
