//! Cancels an order at its owner's wish. The others undo what they did for it when they hear of it.

use super::ATTEMPTS;
use super::change::Occasion;
use super::ports::{Change, Orders};
use crate::domain::{Decision, Fact, Order, OrderStatus, decide};
use contracts::{OrderId, Timestamp, UserId};
use service::StoreError;
use service::trace::Traceparent;

/// Why an order was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelOrderError {
    #[error("there is no such order")]
    Unknown,
    /// It is paid and its stock reserved, so that it may be on its way already.
    #[error("the order is handed over to delivery")]
    HandedOver,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Cancels the order and gives it as it stands then; one that is cancelled already stays as it is. `owner` limits
/// this to that user's orders.
///
/// # Errors
/// If there is no such order, it is handed over, or the store does not answer.
pub async fn cancel_order(
    orders: &impl Orders,
    id: OrderId,
    owner: Option<UserId>,
    trace: &Traceparent,
) -> Result<Order, CancelOrderError> {
    for _ in 0..ATTEMPTS {
        let mut order = orders.find(id, owner).await?.ok_or(CancelOrderError::Unknown)?;
        if order.status == OrderStatus::Cancelled {
            return Ok(order);
        }
        let occasion = Occasion {
            fact: Fact::CancelledByUser,
            event_id: None,
            trace,
            at: Timestamp::now(),
        };
        let decision = decide(&order, occasion.fact);
        if decision == Decision::Stale {
            return Err(CancelOrderError::HandedOver);
        }
        let mut change = Change::none(&order, occasion.at);
        change.take(&mut order, decision, &occasion);
        match orders.store(&[change]).await {
            Ok(stored) if stored.contains(&id) => {
                order.updated_at = occasion.at;
                return Ok(order);
            }
            // Something was heard of it meanwhile: decide again.
            Ok(_) | Err(StoreError::Contention) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}
