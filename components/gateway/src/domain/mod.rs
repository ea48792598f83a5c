//! What a gateway decides: where a path leads, which header fields go along, whom it lets through, and what every
//! answer says. No I/O, no JSON, no SDK.

mod answer;
mod breaker;
mod cors;
mod fields;
mod limit;
mod route;
mod trace_ratio;
mod version;

pub use answer::Additions;
pub use breaker::{Breaker, Moment, Outcome, Word};
pub use cors::Origins;
pub use fields::{CIRCUIT, Envelope, Field, Flaw, ROUTE, inspect, value};
pub use limit::{Draw, Limit, Limits, Policy, Setting, Standing, Tally, TooSoon};
pub use route::{Errand, OWN, Page, Route, Service, find, prefix_of};
pub use trace_ratio::TraceRatio;
pub use version::Retiring;
