//! What payment does, and what it needs for that.

mod errands;
mod handle_events;
#[cfg(test)]
mod in_memory;
mod ports;
mod process_payment;

pub use handle_events::handle_events;
pub use ports::{Change, LookedUp, NoAnswer, Opened, Orders, Outgoing, Provider, Standing, UsedKey};
pub use process_payment::{ProcessPayment, ProcessPaymentError, Processed, process_payment};

/// How often a change that came too late is decided again.
const ATTEMPTS: usize = 3;
