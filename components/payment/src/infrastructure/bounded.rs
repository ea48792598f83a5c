//! A provider whose calls end in time, whatever it does.

use crate::application::{LookedUp, NoAnswer, Provider};
use crate::domain::{Charge, ChargeKey, Refund, RefundKey, Verdict};
use futures::future::{Either, select};
use std::pin::pin;
use std::time::Duration;

/// How long one call may take. The look-up, the refund's look-up and the refund of a cancelled order fit into a
/// request's deadline, with the statements around them.
const BOUND: Duration = Duration::from_secs(1);

/// Gives up on a call of the provider after a second. What was asked for may happen all the same.
pub struct Bounded<P>(pub P);

impl<P: Provider> Provider for Bounded<P> {
    async fn charge(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        within_bound(self.0.charge(charge)).await
    }

    async fn look_up(&self, key: &ChargeKey) -> Result<LookedUp, NoAnswer> {
        within_bound(self.0.look_up(key)).await
    }

    async fn withdraw(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        within_bound(self.0.withdraw(charge)).await
    }

    async fn refund(&self, refund: &Refund) -> Result<(), NoAnswer> {
        within_bound(self.0.refund(refund)).await
    }

    async fn is_refunded(&self, key: &RefundKey) -> Result<bool, NoAnswer> {
        within_bound(self.0.is_refunded(key)).await
    }
}

async fn within_bound<T>(call: impl Future<Output = Result<T, NoAnswer>>) -> Result<T, NoAnswer> {
    match select(pin!(call), pin!(spin_sdk::time::sleep(BOUND))).await {
        Either::Left((answer, _)) => answer,
        Either::Right(((), _)) => Err(NoAnswer),
    }
}
