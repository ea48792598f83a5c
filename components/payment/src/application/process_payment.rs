//! Pays an order on request: one whose payment failed gets its next attempt. Never charges twice: what is under way is
//! looked up, what took the money stands (R8), and a request that is sent again under its idempotency key is not done
//! again.
//!
//! Why the key is sound. The statement that stores an attempt also inserts the key's row, without an answer yet, and
//! stores nothing if there is such a row: so there is one attempt under a key at most, whatever is sent at once, and
//! whichever of its requests lives on. The attempt has a charge of its own at the provider, so nothing that is done
//! about it again charges again. The answer is set once, by whoever is first to find it null: the statement that
//! settles the attempt, the request itself when the attempt is settled by somebody else or not yet, or, should the
//! request have died, the next one under its key. That one asks the provider for nothing: it says how the payment
//! stands, and the timer which was stored with the attempt sees to its end. It waits until the payment has ended or the
//! first request is too old to live. Nothing but this wait depends on time: a request that lives on all the same finds
//! the answer given, and gives it too.

use super::ports::{Change, Orders, Outgoing, Provider, UsedKey};
use super::{ATTEMPTS, errands};
use crate::domain::{NotPayable, Order, Paying, Payment, PaymentStatus};
use contracts::{ChargeLookUpDue, OrderId, PaymentId, PaymentMethod, Timestamp, UserId};
use service::StoreError;
use service::idempotency::{IdempotencyKey, KeptAnswer, Known, Verdict};
use service::router;
use service::trace::Traceparent;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// When an attempt is looked up, should the request that stored it have left it processing: after the three calls of
/// the provider that the request makes at most, each of which ends within a second.
const LOOK_UP_AFTER: Duration = Duration::from_secs(4);

/// The wish to pay an order.
#[derive(Clone, Debug)]
pub struct ProcessPayment {
    pub order_id: OrderId,
    /// The order's own, if none is named.
    pub method: Option<PaymentMethod>,
    /// Limits it to that user's orders; `None` is for all.
    pub owner: Option<UserId>,
    pub key: Option<IdempotencyKey>,
    pub trace: Traceparent,
}

/// The payment, as far as it got.
#[derive(Clone, Debug, PartialEq)]
pub enum Processed {
    /// This request started it, or one that died did under the same key. It is processing still if the provider takes
    /// its time. The answer is kept.
    Started(Payment),
    /// It was under way, or had taken the money. No answer is kept.
    Found(Payment),
    /// The key was used before.
    Known(Known),
}

/// Why nothing was paid.
#[derive(Debug, thiserror::Error)]
pub enum ProcessPaymentError {
    #[error("payment has not heard of the order")]
    UnknownOrder,
    #[error(transparent)]
    NotPayable(#[from] NotPayable),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Pays the order, unless that is done or under way. `answer` is what is kept under the key of a request that started
/// a payment.
///
/// # Errors
/// If the order is unknown, cancelled or overdue, the store does not answer, or somebody else keeps being faster.
pub async fn process_payment(
    orders: &impl Orders,
    provider: &impl Provider,
    command: ProcessPayment,
    answer: impl Fn(&Payment) -> KeptAnswer,
) -> Result<Processed, ProcessPaymentError> {
    for _ in 0..ATTEMPTS {
        if let Some(key) = &command.key
            && let Some(used) = orders.find_key(key).await?
        {
            return resume(orders, &command, used, answer).await;
        }
        let order = orders.load(command.order_id, command.owner).await?;
        let mut order = order.ok_or(ProcessPaymentError::UnknownOrder)?;
        let now = Timestamp::now();
        let payment_id = PaymentId::new();
        if order.pay(command.method, payment_id, now)? != Paying::Started {
            return find(orders, provider, order, &command.trace).await;
        }
        match begin(orders, &mut order, &command, now).await {
            Ok(Verdict::Stored) => return charge(orders, provider, order, &command, answer).await,
            Ok(Verdict::Known(known)) => return Ok(Processed::Known(known)),
            Err(StoreError::Contention | StoreError::Constraint(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}

/// Stores the attempt as processing, with the timer that looks it up.
async fn begin(
    orders: &impl Orders,
    order: &mut Order,
    command: &ProcessPayment,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    let Some(last) = order.payments().last() else {
        return Err(StoreError::Contention);
    };
    let due = ChargeLookUpDue {
        order_id: order.id(),
        payment_id: last.attempt().payment_id,
    };
    let timer = Outgoing::timer(due, now.plus(LOOK_UP_AFTER), &command.trace);
    let change = Change::new(order.clone(), now, vec![timer]);
    let verdict = orders.begin(&change, command.key.as_ref()).await?;
    order.version += 1;
    Ok(verdict)
}

/// Charges the attempt that this request has stored, and gives the payment as it stands then.
async fn charge(
    orders: &impl Orders,
    provider: &impl Provider,
    mut order: Order,
    command: &ProcessPayment,
    answer: impl Fn(&Payment) -> KeptAnswer,
) -> Result<Processed, ProcessPaymentError> {
    let payment = last_payment(&order)?;
    let mut told = errands::run(provider, &mut order, true, Timestamp::now).await;
    if told.is_err() {
        // An answer that was lost is found at once.
        told = errands::run(provider, &mut order, false, Timestamp::now).await;
    }
    let Ok(told) = told else {
        // The timer finds out.
        return give(orders, command.key.as_ref(), payment, answer).await;
    };
    let payment = last_payment(&order)?;
    let change = Change::new(order, Timestamp::now(), Outgoing::all(told, &command.trace));
    let kept = answer(&payment);
    let keyed = command.key.as_ref().map(|key| (key, &kept));
    match orders.settle(&change, keyed).await {
        Ok(Verdict::Stored) => Ok(Processed::Started(payment)),
        Ok(Verdict::Known(_)) => give(orders, command.key.as_ref(), payment, answer).await,
        // Somebody else stored the provider's word, or the order was cancelled meanwhile: then the payment is withdrawn
        // or refunded by the event that says so, which is not done with before.
        Err(StoreError::Contention | StoreError::Constraint(_)) => {
            let order = orders.load(command.order_id, None).await?;
            let order = order.ok_or(ProcessPaymentError::UnknownOrder)?;
            let id = payment.attempt().payment_id;
            let mut payments = order.payments().iter();
            let stands = payments.find(|other| other.attempt().payment_id == id).cloned();
            give(orders, command.key.as_ref(), stands.unwrap_or(payment), answer).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Has the answer to a request that started this payment kept, unless that was done.
async fn give(
    orders: &impl Orders,
    key: Option<&IdempotencyKey>,
    payment: Payment,
    answer: impl Fn(&Payment) -> KeptAnswer,
) -> Result<Processed, ProcessPaymentError> {
    let Some(key) = key else {
        return Ok(Processed::Started(payment));
    };
    let kept = answer(&payment);
    for _ in 0..ATTEMPTS {
        match orders.answer(key, payment.attempt().payment_id, &kept).await {
            Ok(Verdict::Stored) => return Ok(Processed::Started(payment)),
            // Somebody else has answered since the statement's snapshot.
            Ok(Verdict::Known(Known::Begun(_))) | Err(StoreError::Contention) => {}
            Ok(Verdict::Known(known)) => return Ok(Processed::Known(known)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}

/// Goes on with a request that was sent before under the same key.
async fn resume(
    orders: &impl Orders,
    command: &ProcessPayment,
    used: UsedKey,
    answer: impl Fn(&Payment) -> KeptAnswer,
) -> Result<Processed, ProcessPaymentError> {
    match used.payment {
        Some(payment)
            if matches!(used.known, Known::Begun(_))
                && (!is_processing(&payment) || used.age > router::DEADLINE) =>
        {
            give(orders, command.key.as_ref(), payment, answer).await
        }
        _ => Ok(Processed::Known(used.known)),
    }
}

/// Gives the payment that is under way, once it was looked up, or that took the money.
async fn find(
    orders: &impl Orders,
    provider: &impl Provider,
    mut order: Order,
    trace: &Traceparent,
) -> Result<Processed, ProcessPaymentError> {
    let before = last_payment(&order)?;
    if !is_processing(&before) {
        return Ok(Processed::Found(before));
    }
    let Ok(told) = errands::run(provider, &mut order, false, Timestamp::now).await else {
        return Ok(Processed::Found(before));
    };
    let change = Change::new(order, Timestamp::now(), Outgoing::all(told, trace));
    let order = match orders.settle(&change, None).await {
        Ok(_) => change.order,
        Err(StoreError::Contention | StoreError::Constraint(_)) => {
            let order = orders.load(change.order.id(), None).await?;
            order.ok_or(ProcessPaymentError::UnknownOrder)?
        }
        Err(error) => return Err(error.into()),
    };
    if order.is_cancelled() {
        return Err(NotPayable::Cancelled.into());
    }
    let payment = last_payment(&order)?;
    if payment.state().is_withdrawn() {
        return Err(NotPayable::Overdue.into());
    }
    Ok(Processed::Found(payment))
}

fn is_processing(payment: &Payment) -> bool {
    payment.state().status() == PaymentStatus::Processing
}

fn last_payment(order: &Order) -> Result<Payment, ProcessPaymentError> {
    let last = order.payments().last().cloned();
    last.ok_or(ProcessPaymentError::UnknownOrder)
}
