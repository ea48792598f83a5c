//! What is measured, a file each.

mod backlog;
mod contender;
mod copies;
mod hardening;
mod idle;
mod past;
mod pgbench;
mod queue;
mod relay;
mod saga;
mod single;
mod spin;
mod split;
mod stage;
mod stream;
mod swap;
mod twin;
mod unit;

use crate::pace::Pace;
use crate::report::Section;
use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A part of the measurements, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// The components beside a native twin
    Twin,
    /// The gateway, its limits and tracing, beside the same without
    Hardening,
    /// One process for all components, beside one for each
    Split,
    /// Components that are swapped while orders come
    Swap,
    /// One order at a time, from the request to `shipping`
    Single,
    /// A sustained stream of orders, beside pgbench
    Stream,
    /// The relays, beside a bare publisher
    Relay,
    /// The backlog of an outage
    Backlog,
    /// A shop with a past, beside an empty one
    Past,
    /// The shop at rest, and its second start
    Idle,
}

impl Part {
    /// The parts to measure, in the order to do so: the idle shop first, while nothing that others left behind has the
    /// servers at work.
    pub(crate) fn chosen(only: &[Self]) -> Vec<Self> {
        let mut parts = vec![
            Self::Idle,
            Self::Single,
            Self::Stream,
            Self::Twin,
            Self::Hardening,
            Self::Split,
            Self::Swap,
            Self::Relay,
            Self::Backlog,
            Self::Past,
        ];
        parts.retain(|part| only.is_empty() || only.contains(part));
        parts
    }

    /// As one asks for it.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Its heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Twin => "The components beside a native twin",
            Self::Hardening => "What the gateway, its limits and tracing cost",
            Self::Split => "Together, and each service by itself",
            Self::Swap => "Hot swap",
            Self::Single => "One order at a time",
            Self::Stream => "A sustained stream of orders",
            Self::Relay => "The relay",
            Self::Backlog => "After an outage",
            Self::Past => "With a long past",
            Self::Idle => "The idle shop",
        }
    }

    /// Measures this part with a shop of its own.
    ///
    /// # Errors
    /// If the shop cannot be started, or does not do what it should.
    pub(crate) async fn measure(self, pace: &Pace) -> Result<Section> {
        eprintln!("bench: {}", self.title());
        match self {
            Self::Twin => twin::measure(pace).await,
            Self::Hardening => hardening::measure(pace).await,
            Self::Split => split::measure(pace).await,
            Self::Swap => swap::measure(pace).await,
            Self::Single => single::measure(pace).await,
            Self::Stream => stream::measure(pace).await,
            Self::Relay => relay::measure(pace).await,
            Self::Backlog => backlog::measure(pace).await,
            Self::Past => past::measure(pace).await,
            Self::Idle => idle::measure(pace).await,
        }
    }
}
