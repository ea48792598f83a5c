//! Finds out what became of a charge that took longer than the request that asked for it.

use super::ports::{Change, LookedUp, Orders, Outgoing, Provider};
use crate::domain::Errand;
use contracts::{OrderId, Timestamp};
use service::StoreError;
use service::trace::Traceparent;

/// Looks up the charge that is under way for the order, if one is, and stores what came of it. Asks the provider for
/// nothing: a reader never starts a charge.
///
/// # Errors
/// If the store does not answer. A provider that is silent leaves all as it is.
pub async fn catch_up(
    orders: &impl Orders,
    provider: &impl Provider,
    order_id: OrderId,
    trace: &Traceparent,
) -> Result<(), StoreError> {
    let Some(mut order) = orders.load(order_id, None).await? else {
        return Ok(());
    };
    let Some(Errand::Charge(charge)) = order.errand() else {
        return Ok(());
    };
    let Ok(LookedUp::Settled(verdict)) = provider.look_up(&charge.key).await else {
        return Ok(());
    };
    let now = Timestamp::now();
    let outgoing = Outgoing::all(order.settle(verdict, now), trace);
    let change = Change::new(order, now, outgoing);
    match orders.store(&[change]).await {
        // Where it was not stored, somebody else was faster and knows as much.
        Ok(_) | Err(StoreError::Contention | StoreError::Constraint(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
