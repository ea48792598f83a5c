//! What ordering does, and what it needs for that.

mod cancel_order;
mod change;
mod handle_events;
mod outcome;
mod place_order;
mod ports;
#[cfg(test)]
mod store_in_memory;

pub use cancel_order::{CancelOrder, CancelOrderError, cancel_order};
pub use handle_events::handle_events;
pub use outcome::Outcome;
pub use place_order::{PlaceOrder, PlaceOrderError, place_order};
pub use ports::{
    CatalogChange, Cause, Change, HistoryItem, Keyed, Loaded, NoteItem, OrderFilter, Orders, Outgoing,
    StoredHistory, StoredHistoryItem,
};

/// How often what somebody else was faster than is decided again (R1).
const ATTEMPTS: usize = 3;
