//! Servers that are loaded in turns with the same thing.

use crate::generator::{Run, Target, load};
use crate::pace::Pace;
use crate::report::Table;
use crate::statistics::{median, milliseconds, percentile};
use anyhow::{Context as _, Result};

/// A server under load.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) target: Target,
    /// The processes that serve.
    pids: Vec<u32>,
    runs: Vec<Run>,
}

/// Each round begins with another contender, so that none always follows the same.
pub(super) async fn take_turns(scenario: &str, contenders: &mut [Contender], pace: &Pace) -> Result<()> {
    for round in 0..pace.rounds {
        contenders.rotate_left(usize::from(round > 0));
        for contender in contenders.iter_mut() {
            let target = contender.target.clone();
            let run = load(target, contender.pids.clone(), pace.warm_up, pace.run).await;
            let run = run.with_context(|| format!("{scenario}, {}", contender.name))?;
            contender.runs.push(run);
        }
    }
    Ok(())
}

impl Contender {
    pub(super) fn new(name: &'static str, target: Target, pid: u32) -> Self {
        Self::of_several(name, target, vec![pid])
    }

    pub(super) fn of_several(name: &'static str, target: Target, pids: Vec<u32>) -> Self {
        Self {
            name,
            target,
            pids,
            runs: Vec::new(),
        }
    }

    /// The median over the runs.
    fn median(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(&self.runs.iter().map(figure).collect::<Vec<_>>())
    }

    /// Our requests per second as a share of the other's, round by round.
    pub(super) fn shares_of(&self, other: &Self) -> Vec<f64> {
        let rounds = self.runs.iter().zip(&other.runs);
        rounds.map(|(ours, theirs)| ours.rate() / theirs.rate()).collect()
    }

    /// A table for the figures of several.
    pub(super) fn table() -> Table {
        Table::new(&["", "", "requests/s", "p50, ms", "p99, ms", "CPU per request, µs"])
    }

    /// Adds our figures in `scenario`.
    pub(super) fn add_row(&self, scenario: &str, figures: &mut Table) {
        let latency = |share| self.median(|run| milliseconds(percentile(&run.latencies, share)));
        figures.row([
            scenario.to_owned(),
            self.name.to_owned(),
            format!("{:.0}", self.median(Run::rate)),
            format!("{:.2}", latency(0.5)),
            format!("{:.2}", latency(0.99)),
            format!("{:.0}", self.median(Run::cpu_per_request)),
        ]);
    }
}
