//! What payment does, and what it needs for that.

mod handle_events;
mod ports;

pub use handle_events::handle_events;
pub use ports::{Change, LookedUp, NoAnswer, Opened, Orders, Outgoing, Provider, Standing};
