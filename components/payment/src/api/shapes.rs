//! What goes over the wire.

use crate::domain::{FailureReason, Payment};
use contracts::{Money, OrderId, PaymentId, PaymentMethod, Timestamp, UserId};
use serde::Serialize;

/// A payment as clients see it.
#[derive(Debug, Serialize)]
pub(super) struct PaymentBody {
    id: PaymentId,
    order_id: OrderId,
    user_id: UserId,
    amount: Money,
    status: &'static str,
    payment_method: PaymentMethod,
    transaction_id: Option<String>,
    failure_reason: Option<&'static str>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Payment> for PaymentBody {
    fn from(payment: Payment) -> Self {
        let (attempt, state) = (payment.attempt(), payment.state());
        Self {
            id: attempt.payment_id,
            order_id: attempt.order_id,
            user_id: attempt.user_id,
            amount: attempt.amount,
            status: state.status().as_str(),
            payment_method: attempt.method,
            transaction_id: state.transaction_id().map(ToString::to_string),
            failure_reason: state.failure_reason().map(FailureReason::as_str),
            created_at: payment.created_at(),
            updated_at: payment.updated_at(),
        }
    }
}
