//! Pays an order on request: one whose payment failed gets its next attempt. Never charges twice: what is under way is
//! looked up, what took the money stands (R8).

use super::ports::{Change, Orders, Outgoing, Provider, Standing};
use super::{ATTEMPTS, errands};
use crate::domain::{CancelledOrder, Order, Paying, Payment};
use contracts::{OrderId, PaymentId, PaymentMethod, Timestamp, UserId};
use service::StoreError;
use service::trace::Traceparent;

#[cfg(test)]
mod tests;

/// The wish to pay an order.
#[derive(Clone, Debug)]
pub struct ProcessPayment {
    pub order_id: OrderId,
    /// The order's own, if none is named.
    pub method: Option<PaymentMethod>,
    /// Limits it to that user's orders; `None` is for all.
    pub owner: Option<UserId>,
    pub trace: Traceparent,
}

/// The payment, as far as it got.
#[derive(Clone, Debug, PartialEq)]
pub enum Processed {
    /// This request started it. It is processing still if the provider takes its time.
    Started(Payment),
    /// It was under way, or had taken the money.
    Found(Payment),
}

/// Why nothing was paid.
#[derive(Debug, thiserror::Error)]
pub enum ProcessPaymentError {
    #[error("payment has not heard of the order")]
    UnknownOrder,
    #[error(transparent)]
    Cancelled(#[from] CancelledOrder),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Pays the order, unless that is done or under way.
///
/// # Errors
/// If the order is unknown or cancelled, the store does not answer, or somebody else keeps being faster.
pub async fn process_payment(
    orders: &impl Orders,
    provider: &impl Provider,
    command: ProcessPayment,
) -> Result<Processed, ProcessPaymentError> {
    let standing = start(orders, &command).await?;
    let is_new = standing.is_new;
    let payment = conclude(orders, provider, standing, &command.trace).await?;
    Ok(if is_new {
        Processed::Started(payment)
    } else {
        Processed::Found(payment)
    })
}

/// Stores the next attempt as processing, if one is to be made.
async fn start(orders: &impl Orders, command: &ProcessPayment) -> Result<Standing, ProcessPaymentError> {
    for _ in 0..ATTEMPTS {
        let order = orders.load(command.order_id, command.owner).await?;
        let mut order = order.ok_or(ProcessPaymentError::UnknownOrder)?;
        let now = Timestamp::now();
        let is_new = match order.pay(command.method, PaymentId::new(), now)? {
            Paying::Started => true,
            Paying::UnderWay | Paying::Stands => false,
        };
        if !is_new || store(orders, &mut order, now, Vec::new()).await? {
            return Ok(Standing { order, is_new });
        }
    }
    Err(StoreError::Contention.into())
}

/// Has the provider's word on the last payment stored, and gives that payment as it is then. Without an answer in time
/// it stays processing: whoever asks for it next looks it up.
async fn conclude(
    orders: &impl Orders,
    provider: &impl Provider,
    standing: Standing,
    trace: &Traceparent,
) -> Result<Payment, ProcessPaymentError> {
    let Standing { mut order, is_new } = standing;
    if order.errand().is_none() {
        return last_payment(&order);
    }
    let mut answer = errands::run(provider, &mut order, is_new).await;
    if is_new && answer.is_err() {
        // An answer that was lost is found at once.
        answer = errands::run(provider, &mut order, false).await;
    }
    let Ok(told) = answer else {
        return last_payment(&order);
    };
    let outgoing = Outgoing::all(told, trace);
    if store(orders, &mut order, Timestamp::now(), outgoing).await? {
        return last_payment(&order);
    }
    // Somebody else stored the provider's word, or the order was cancelled meanwhile: then the payment is withdrawn or
    // refunded by the event that says so, which is not done with before.
    let order = orders.load(order.id(), None).await?;
    let order = order.ok_or(ProcessPaymentError::UnknownOrder)?;
    if order.is_cancelled() {
        return Err(CancelledOrder.into());
    }
    last_payment(&order)
}

/// Stores the order, and says whether it did: not if the order has changed since it was loaded.
async fn store(
    orders: &impl Orders,
    order: &mut Order,
    now: Timestamp,
    outgoing: Vec<Outgoing>,
) -> Result<bool, StoreError> {
    let change = Change::new(order.clone(), now, outgoing);
    match orders.store(&[change]).await {
        Ok(stored) if stored.contains(&order.id()) => {
            order.version += 1;
            Ok(true)
        }
        Ok(_) | Err(StoreError::Contention | StoreError::Constraint(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn last_payment(order: &Order) -> Result<Payment, ProcessPaymentError> {
    let last = order.payments().last().cloned();
    last.ok_or(ProcessPaymentError::UnknownOrder)
}
