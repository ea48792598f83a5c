//! What delivery is about: paid orders, and the one shipment that each becomes. No I/O, no JSON, no SDK.

mod failure_reason;
mod order;
mod shipment;
mod tracking_number;

pub use failure_reason::{FailureReason, InvalidReason};
pub use order::{AlreadyShipped, Announcement, Order, PaidOrder, Shipped, Shipping, Terms};
pub use shipment::{Arrival, Ending, NotUnderWay, Shipment, ShipmentState, ShipmentStatus, UnknownStatus};
pub use tracking_number::TrackingNumber;
