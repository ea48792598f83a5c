//! What the gateway finds out and decides by itself, and what it needs for that.

mod admission;
mod breakers;
mod health;

pub use admission::{Consulted, Pass, Refusal, Shared, Way, admit, conclude, count};
pub use breakers::{Breakers, Replaced, SharedBreakers};
pub use health::{Overview, Services, ask_all};
