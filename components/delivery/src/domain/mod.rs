//! What delivery is about: paid orders, and the one shipment that each becomes. No I/O, no JSON, no SDK.

mod order;
mod shipment;
mod tracking_number;

pub use order::{AlreadyShipped, Order, PaidOrder, Shipping};
pub use shipment::{NotUnderWay, Shipment, ShipmentState, ShipmentStatus, UnknownStatus};
pub use tracking_number::TrackingNumber;
