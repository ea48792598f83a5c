//! What delivery does, and what it needs for that.

mod create_shipment;
mod deliver_due;
mod end_shipment;
mod handle_events;
mod ports;
#[cfg(test)]
mod store_in_memory;

pub use create_shipment::{CreateShipmentError, create_shipment};
pub use end_shipment::{EndShipmentError, end_shipment};
pub use handle_events::handle_events;
pub use ports::{Arrived, Change, Loaded, LoadedShipments, Outgoing, Shipments};

/// How often a change that came too late is decided again.
const ATTEMPTS: usize = 3;
