//! The model test: the shop in one thread, in a world whose every turn is drawn from a seed.
//!
//! What is real here is what decides: the use cases and the domain of catalog, ordering, payment and delivery, the
//! relay's windows, leases and floors, the shuttle's line. What is modelled is the world around them: a database for
//! each service with its gates, locks, inbox and outbox; a payment provider with a ledger of its own; a broker with the
//! queues of `topology.toml`; clients, couriers and admins; a clock; and all that can go wrong between them.
//!
//! A *plan* is drawn from the seed: who wants what and when, and which processes die, pause or lose a connection, when
//! messages come again or in another order, when clocks jump. Then the *story* is told: everything that could go on is a
//! step, dice drawn from the plan choose the next one, and between any two of them a process may die. What it had stored
//! stays, what it had only asked for may still happen. After every step the invariants are looked at that always hold;
//! once faults have stopped, every timer has fired and all has come to rest, the others.
//!
//! The same seed tells the same story, whatever ids are drawn: nothing in the model depends on their values. A seed whose
//! story breaks an invariant is shrunk: commands and faults are cut from its plan while it still breaks.
//!
//! Ten rules and more can be broken on purpose ([`Mutation`]), to see that the model notices.

mod broker;
mod clients;
mod component;
mod database;
mod invariants;
mod mutation;
mod plan;
mod provider;
mod relay;
mod services;
mod shrink;
mod shuttle;
mod stage;
mod story;
mod tables;
mod world;

pub use invariants::{Invariant, Violation};
pub use mutation::Mutation;
pub use plan::{Command, Fault, Plan, Terms};
pub use shrink::shrink;
pub use stage::Stage;
pub use story::{Ending, tell};

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// A seed whose story breaks an invariant, and the smallest story that does.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub violation: Violation,
    /// To be shown: the shrunk plan, what happened, and what is broken.
    pub report: String,
}

/// What a range of seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub stories: u64,
    pub steps: u64,
    /// How often orders and payments came to which end.
    pub ends: BTreeMap<&'static str, u64>,
    /// The lowest seed that fails, of those that were told.
    pub failure: Option<Failure>,
}

/// Tells the stories of all these seeds, on all cores, until one fails.
#[must_use]
pub fn search(seeds: Range<u64>, mutation: Option<Mutation>) -> Summary {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut summary = Summary::default();
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let plan = Plan::of(seed);
            let ending = tell(&plan, mutation, false);
            summary.stories += 1;
            summary.steps += ending.steps;
            for end in ending.ends {
                *summary.ends.entry(end).or_default() += 1;
            }
            if let Some(violation) = ending.violation {
                stop.store(true, Ordering::Relaxed);
                summary.failure = Some(Failure {
                    seed,
                    violation,
                    report: String::new(),
                });
            }
        }
        summary
    };
    let summaries: Vec<Summary> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .collect()
    });
    let mut whole = Summary::default();
    for summary in summaries {
        whole.stories += summary.stories;
        whole.steps += summary.steps;
        for (end, count) in summary.ends {
            *whole.ends.entry(end).or_default() += count;
        }
        let seed = |failure: &Option<Failure>| failure.as_ref().map_or(u64::MAX, |failure| failure.seed);
        if seed(&summary.failure) < seed(&whole.failure) {
            whole.failure = summary.failure;
        }
    }
    whole
}

/// A failure with its smallest story.
#[must_use]
pub fn explain(failure: Failure, mutation: Option<Mutation>) -> Failure {
    let plan = shrink(&Plan::of(failure.seed), mutation, failure.violation.invariant);
    let ending = tell(&plan, mutation, true);
    let violation = ending.violation.unwrap_or(failure.violation);
    let mut report = format!("seed {}\n{violation}\n\nterms: {:?}\n", failure.seed, plan.terms);
    for (_, command) in &plan.commands {
        let _ = writeln!(report, "wanted: {command}");
    }
    for (at, fault) in &plan.faults {
        let _ = writeln!(report, "fault at {} ms: {fault:?}", at / 1000);
    }
    report.push('\n');
    for line in ending.story {
        report.push_str(&line);
        report.push('\n');
    }
    let _ = write!(report, "{violation}");
    Failure {
        seed: failure.seed,
        violation,
        report,
    }
}
