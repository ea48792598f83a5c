//! What goes over the wire, and the one fallible step from there into the domain.

use crate::application::ProcessPayment;
use crate::domain::{FailureReason, Payment};
use contracts::{Money, OrderId, PaymentId, PaymentMethod, Timestamp, UserId};
#[cfg(test)]
use description::values;
use serde::{Deserialize, Serialize};
use service::trace::Traceparent;
use service::{FieldErrors, IdempotencyKey, Problem};

/// The body of `POST /payments/process`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = NewPayment))]
#[serde(deny_unknown_fields)]
pub(super) struct NewPayment {
    #[cfg_attr(test, schema(schema_with = values::id))]
    order_id: String,
    #[cfg_attr(test, schema(schema_with = values::nullable::payment_method))]
    payment_method: Option<String>,
}

impl NewPayment {
    pub(super) fn into_command(
        self,
        owner: Option<UserId>,
        key: Option<IdempotencyKey>,
        trace: Traceparent,
    ) -> Result<ProcessPayment, Problem> {
        let mut errors = FieldErrors::new();
        let order_id = errors.check("order_id", self.order_id.parse());
        let method = match self.payment_method {
            Some(name) => errors.check("payment_method", name.parse()),
            None => None,
        };
        let order_id = errors.finish(order_id)?;
        Ok(ProcessPayment {
            order_id,
            method,
            owner,
            key,
            trace,
        })
    }
}

/// A payment as clients see it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Payment))]
pub(super) struct PaymentBody {
    id: PaymentId,
    order_id: OrderId,
    user_id: UserId,
    amount: Money,
    #[cfg_attr(test, schema(schema_with = values::payment_status))]
    status: &'static str,
    payment_method: PaymentMethod,
    transaction_id: Option<String>,
    #[cfg_attr(test, schema(schema_with = values::nullable::payment_failure))]
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
