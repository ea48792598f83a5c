//! The bridge between the outbox tables of services, RabbitMQ, and the services' HTTP endpoints.
//!
//! `outbox` carries events from the tables to the broker, `shuttle` from the broker to the services, and
//! `dead_letters` writes down those that no service would take; `operator` is what people do about them. What is decided without I/O (`outbox::window`,
//! `outbox::lease`, `shuttle::line`) is public, so that a simulation can drive it. Nothing here knows of any application:
//! that is in the [`Topology`].

mod backoff;
mod bridge;
mod broker;
mod database;
mod dead_letters;
mod lookout;
mod metrics;
pub mod notices;
pub mod operator;
pub mod outbox;
mod prune;
pub mod shuttle;
pub mod topology;
mod trace;

pub use backoff::Backoff;
pub use bridge::{Bridge, Config, Nudge, StartError};
pub use metrics::describe as describe_metrics;
pub use outbox::RelaySettings;
pub use prune::PruneSettings;
pub use shuttle::ShuttleSettings;
pub use topology::{Topology, TopologyError};
