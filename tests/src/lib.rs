//! What the tests of the shop share: where its servers are, a shop of one's own, the actors who use it, and waiting
//! for a condition. `cargo xtask test` provides the environment; nothing here skips a test that lacks it.

pub mod actors;
pub mod collector;
pub mod crowd;
pub mod environment;
pub mod events;
pub mod eventually;
pub mod mishaps;
pub mod proxy;
pub mod shop;
pub mod spin;
pub mod swappable;
pub mod topology;

pub use actors::{Actor, Answer};
pub use collector::Collector;
pub use eventually::eventually;
pub use shop::Shop;
