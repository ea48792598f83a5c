//! The interface that payment imports (`wit/payment-provider`), on the ledger. Calls run side by side: nothing is
//! held while a slow card is waited for.

use crate::domain::{self, Answer, Charge, Recorded, Refund, Terms, transaction_id};
use crate::infrastructure::Ledger;
use provider_interface::provider::{
    Address, ChargeRequest, ChargeState, Guest, Key, NotAnswered, RefundRequest, Verdict,
};
use service::StoreError;

/// What the component exports.
pub struct SimulatedProvider;

#[cfg(target_family = "wasm")]
provider_interface::export!(SimulatedProvider);

impl Guest for SimulatedProvider {
    async fn charge(at: Address, request: ChargeRequest) -> Result<Verdict, NotAnswered> {
        let terms = Terms::of(&request.method, transaction_id);
        let charged = record(at, request, &terms).await?;
        match terms.answer(charged) {
            Answer::Now(verdict) => Ok(verdict.into()),
            Answer::After(delay, verdict) => {
                spin_sdk::time::sleep(delay).await;
                Ok(verdict.into())
            }
            Answer::Lost => Err(silence("the answer was lost")),
        }
    }

    async fn look_up(at: Address, key: Key) -> Result<ChargeState, NotAnswered> {
        let found = Ledger::at(at).find(key).await.map_err(unanswered)?;
        Ok(match found.map(Recorded::settled) {
            None => ChargeState::Unknown,
            Some(None) => ChargeState::Pending,
            Some(Some(verdict)) => ChargeState::Settled(verdict.into()),
        })
    }

    async fn withdraw(at: Address, request: ChargeRequest) -> Result<Verdict, NotAnswered> {
        let closed = record(at, request, &Terms::WITHDRAWN).await?;
        match closed.settled() {
            Some(verdict) => Ok(verdict.into()),
            None => Err(silence("the charge is pending")),
        }
    }

    async fn refund(at: Address, request: RefundRequest) -> Result<(), NotAnswered> {
        let refund = Refund {
            key: request.key,
            charge: request.charge,
            amount_minor: minor(request.amount.minor)?,
            currency: request.amount.currency,
        };
        if Ledger::at(at).refund(refund).await.map_err(unanswered)? {
            Ok(())
        } else {
            Err(silence(
                "there is nothing to give back, or somebody else is giving it back",
            ))
        }
    }

    async fn is_refunded(at: Address, key: Key) -> Result<bool, NotAnswered> {
        Ledger::at(at).is_refunded(key).await.map_err(unanswered)
    }
}

async fn record(at: Address, request: ChargeRequest, terms: &Terms) -> Result<Recorded, NotAnswered> {
    let charge = Charge {
        key: request.key,
        amount_minor: minor(request.amount.minor)?,
        currency: request.amount.currency,
        method: request.method,
    };
    let recorded = Ledger::at(at).record(charge, terms).await.map_err(unanswered)?;
    // Another call of the same key was recording it that very moment. A look-up finds it.
    recorded.ok_or_else(|| silence("another call is making this charge"))
}

/// The ledger counts as Postgres does.
fn minor(amount: u64) -> Result<i64, NotAnswered> {
    i64::try_from(amount).map_err(|_| silence("nobody has that much money"))
}

fn silence(reason: &str) -> NotAnswered {
    NotAnswered {
        reason: reason.to_owned(),
    }
}

/// A ledger that fails says nothing: whether it was done is looked up later.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands on")]
fn unanswered(error: StoreError) -> NotAnswered {
    silence(&error.to_string())
}

impl From<domain::Verdict> for Verdict {
    fn from(verdict: domain::Verdict) -> Self {
        match verdict {
            domain::Verdict::Taken(transaction) => Self::Taken(transaction),
            domain::Verdict::Declined => Self::Declined,
            domain::Verdict::Withdrawn => Self::Withdrawn,
        }
    }
}
