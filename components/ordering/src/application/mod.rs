//! What ordering does, and what it needs for that.

mod handle_events;
mod place_order;
mod ports;

pub use handle_events::handle_events;
pub use place_order::{PlaceOrder, PlaceOrderError, place_order};
pub use ports::{
    CatalogChange, Change, HistoryItem, Loaded, OrderFilter, Orders, Outgoing, StoredHistoryItem,
};
