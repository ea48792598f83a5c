//! What the provider is asked for, in an order's name (R8). Nothing here is stored: a crash, or a provider that is
//! silent, leaves the order as it was stored, and its errands are found again. What may have been asked for before is
//! looked up.

use super::ports::{LookedUp, NoAnswer, Provider};
use crate::domain::{Charge, Errand, Order, Refund, Verdict};
use contracts::{Event, Timestamp};

/// Runs the errands of an order until it is at rest, and gives the events that tell what came of them. `is_new` says
/// that nobody can have asked for them before.
///
/// # Errors
/// Why the order is not at rest yet.
pub(super) async fn run(
    provider: &impl Provider,
    order: &mut Order,
    is_new: bool,
) -> Result<Vec<Event>, &'static str> {
    let mut told = Vec::new();
    while let Some(errand) = order.errand() {
        let event = match errand {
            Errand::Charge(charge) if is_new => {
                let verdict = provider.charge(&charge).await.map_err(no_answer)?;
                order.settle(verdict, Timestamp::now())
            }
            Errand::Charge(charge) => {
                let found = find_out(provider, &charge).await?;
                // Whoever stored the attempt ended before the provider heard of it, or is on the way there this very
                // moment. Either way it is safe to ask under the same key: the provider makes one charge of it.
                let verdict = match found {
                    Some(verdict) => verdict,
                    None => provider.charge(&charge).await.map_err(no_answer)?,
                };
                order.settle(verdict, Timestamp::now())
            }
            Errand::Withdraw(charge) => {
                let found = find_out(provider, &charge).await?;
                // Somebody may be on the way to the provider here too: only a key that the provider has closed is
                // never charged.
                let verdict = match found {
                    Some(verdict) => verdict,
                    None => provider.withdraw(&charge).await.map_err(no_answer)?,
                };
                order.settle(verdict, Timestamp::now())
            }
            Errand::Refund(refund) => {
                give_back(provider, &refund).await?;
                order.refund(Timestamp::now())
            }
        };
        told.extend(event);
    }
    Ok(told)
}

/// What became of a charge that somebody may have asked for before; `None` if the provider has not heard of it.
async fn find_out(provider: &impl Provider, charge: &Charge) -> Result<Option<Verdict>, &'static str> {
    match provider.look_up(&charge.key).await.map_err(no_answer)? {
        LookedUp::Settled(verdict) => Ok(Some(verdict)),
        LookedUp::Pending => Err("the provider has not decided yet"),
        LookedUp::Unknown => Ok(None),
    }
}

async fn give_back(provider: &impl Provider, refund: &Refund) -> Result<(), &'static str> {
    if provider.is_refunded(&refund.key).await.map_err(no_answer)? {
        return Ok(());
    }
    provider.refund(refund).await.map_err(no_answer)
}

fn no_answer(_: NoAnswer) -> &'static str {
    "the provider does not answer"
}
