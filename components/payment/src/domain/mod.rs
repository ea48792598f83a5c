//! What a payment is: the attempts to collect what an order costs, and how each ends. No I/O, no JSON, no SDK.

mod charge;
mod order;
mod payment;

pub use charge::{
    Charge, ChargeKey, FailureReason, Refund, RefundKey, TransactionId, UnknownReason, Verdict,
};
pub use order::{Errand, NotPayable, Order, OrderState, Paying, PlacedOrder};
pub use payment::{Attempt, Payment, PaymentState, PaymentStatus, UnknownState};
