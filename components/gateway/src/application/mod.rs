//! What the gateway finds out by itself, and what it needs for that.

mod health;

pub use health::{Overview, Services, ask_all};
