//! Cancels an order at its owner's wish. The others undo what they did for it when they hear of it.

use super::ATTEMPTS;
use super::change::Occasion;
use super::outcome::Outcome;
use super::ports::{Change, Orders};
use crate::domain::{Decision, Fact, Order, OrderStatus, decide};
use contracts::{OrderId, Timestamp, UserId};
use service::StoreError;
use service::idempotency::{IdempotencyKey, KeptAnswer, Verdict};
use service::trace::Traceparent;

/// The wish to cancel an order.
#[derive(Clone, Debug)]
pub struct CancelOrder {
    pub order_id: OrderId,
    /// Limits it to that user's orders; `None` is for all.
    pub owner: Option<UserId>,
    pub key: Option<IdempotencyKey>,
    pub trace: Traceparent,
}

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

/// Cancels the order and gives it as it stands then; one that is cancelled already stays as it is. `answer` is what is
/// kept under the request's key.
///
/// # Errors
/// If there is no such order, it is handed over, or the store does not answer.
pub async fn cancel_order(
    orders: &impl Orders,
    command: &CancelOrder,
    answer: impl Fn(&Order) -> KeptAnswer,
) -> Result<Outcome, CancelOrderError> {
    for _ in 0..ATTEMPTS {
        let order = orders.find(command.order_id, command.owner).await?;
        let mut order = order.ok_or(CancelOrderError::Unknown)?;
        if order.status == OrderStatus::Cancelled {
            return Ok(Outcome::Unchanged(order));
        }
        let occasion = Occasion {
            fact: Fact::CancelledByUser,
            cause: &Fact::CancelledByUser.name().into(),
            event_id: None,
            trace: &command.trace,
            at: Timestamp::now(),
        };
        let decision = decide(&order, occasion.fact);
        if decision == Decision::Stale {
            return Err(CancelOrderError::HandedOver);
        }
        let mut change = Change::none(&order, occasion.at);
        change.take(&mut order, decision, &occasion);
        order.updated_at = occasion.at;
        let kept = command.key.as_ref().map(|key| (key, answer(&order)));
        let keyed = kept.as_ref().map(|(key, answer)| (*key, answer));
        match orders.store_requested(&change, keyed).await {
            Ok(Verdict::Stored) => return Ok(Outcome::Stored(order)),
            Ok(Verdict::Known(known)) => return Ok(Outcome::Known(known)),
            // Something was heard of it meanwhile, or another request used the key: decide again.
            Err(StoreError::Contention) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::store_in_memory::{Fault, InMemory, answer, key};
    use crate::domain::StatusReason;
    use futures::executor::block_on;
    use service::idempotency::Known;

    const PAID: Fact = Fact::PaymentCompleted { attempt: 1 };

    fn wish(order_id: OrderId, key: Option<IdempotencyKey>) -> CancelOrder {
        CancelOrder {
            order_id,
            owner: None,
            key,
            trace: Traceparent::random(),
        }
    }

    fn cancel(orders: &InMemory, command: &CancelOrder) -> Result<Outcome, CancelOrderError> {
        block_on(cancel_order(orders, command, answer))
    }

    #[test]
    fn a_cancelled_order_is_answered_as_it_is_stored_and_stays_so() {
        let orders = InMemory::default();
        let order_id = orders.with_order(&[]);
        let Ok(Outcome::Stored(order)) = cancel(&orders, &wish(order_id, None)) else {
            panic!("not cancelled")
        };
        assert_eq!(order.status_reason, Some(StatusReason::CancelledByUser));
        assert_eq!(order.updated_at, orders.order(order_id).updated_at);
        let again = cancel(&orders, &wish(order_id, None)).unwrap();
        assert_eq!(again, Outcome::Unchanged(orders.order(order_id)));
        assert_eq!(orders.told(), ["OrderCancelled"]);
    }

    #[test]
    fn what_is_heard_meanwhile_is_decided_upon() {
        let orders = InMemory::failing([Fault::Raced(Fact::StockReserved), Fault::Contention]);
        let order_id = orders.with_order(&[]);
        let outcome = cancel(&orders, &wish(order_id, None)).unwrap();
        assert!(matches!(outcome, Outcome::Stored(order) if order.stock_reserved));

        let orders = InMemory::failing([Fault::Raced(PAID)]);
        let order_id = orders.with_order(&[Fact::StockReserved]);
        let refused = cancel(&orders, &wish(order_id, None));
        assert!(matches!(refused, Err(CancelOrderError::HandedOver)));
        assert!(orders.told().is_empty());
    }

    #[test]
    fn a_key_that_was_used_before_cancels_nothing() {
        let orders = InMemory::default();
        let (first, second) = (orders.with_order(&[]), orders.with_order(&[]));
        let user_id = UserId::new();
        let Ok(Outcome::Stored(order)) = cancel(&orders, &wish(first, Some(key(user_id, "")))) else {
            panic!("not cancelled")
        };
        let known = Known::Answered(answer(&order));
        let again = cancel(&orders, &wish(second, Some(key(user_id, "")))).unwrap();
        assert_eq!(again, Outcome::Known(known));
        let other = cancel(&orders, &wish(second, Some(key(user_id, "{}")))).unwrap();
        assert_eq!(other, Outcome::Known(Known::OtherBody));
        assert_eq!(orders.order(second).status, OrderStatus::Created);
    }

    #[test]
    fn somebody_elses_order_is_unknown() {
        let orders = InMemory::default();
        let mut command = wish(orders.with_order(&[]), None);
        command.owner = Some(UserId::new());
        let refused = cancel(&orders, &command);
        assert!(matches!(refused, Err(CancelOrderError::Unknown)));
    }
}
