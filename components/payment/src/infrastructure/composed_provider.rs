//! The provider that the manifest composes into payment: another component, behind the interface
//! `shop:payment/provider`. What it does not answer is logged here, once.

use crate::application::{LookedUp, NoAnswer, Provider};
use crate::domain::{Charge, ChargeKey, Refund, RefundKey, TransactionId, Verdict};
use bindings::shop::payment::provider;
use contracts::Money;
use service::log::{self, Level};

mod bindings {
    spin_sdk::wit_bindgen::generate!({
        path: "../../wit/payment-provider",
        world: "payment",
        runtime_path: "::spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

/// The provider at one address, which holds a secret and is never shown.
pub struct ComposedProvider<'a> {
    address: &'a str,
}

impl<'a> ComposedProvider<'a> {
    /// `address` is what the provider itself makes of it.
    #[must_use]
    pub fn new(address: &'a str) -> Self {
        Self { address }
    }

    fn at(&self) -> provider::Address {
        self.address.to_owned()
    }
}

impl Provider for ComposedProvider<'_> {
    async fn charge(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        let answer = provider::charge(self.at(), request(charge)).await;
        answer.map(Verdict::from).map_err(NoAnswer::from)
    }

    async fn look_up(&self, key: &ChargeKey) -> Result<LookedUp, NoAnswer> {
        let answer = provider::look_up(self.at(), key.as_str().to_owned()).await;
        answer.map(LookedUp::from).map_err(NoAnswer::from)
    }

    async fn withdraw(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        let answer = provider::withdraw(self.at(), request(charge)).await;
        answer.map(Verdict::from).map_err(NoAnswer::from)
    }

    async fn refund(&self, refund: &Refund) -> Result<(), NoAnswer> {
        let request = provider::RefundRequest {
            key: refund.key.as_str().to_owned(),
            charge: refund.charge.as_str().to_owned(),
            amount: money(refund.amount),
        };
        let answer = provider::refund(self.at(), request).await;
        answer.map_err(NoAnswer::from)
    }

    async fn is_refunded(&self, key: &RefundKey) -> Result<bool, NoAnswer> {
        let answer = provider::is_refunded(self.at(), key.as_str().to_owned()).await;
        answer.map_err(NoAnswer::from)
    }
}

fn request(charge: &Charge) -> provider::ChargeRequest {
    provider::ChargeRequest {
        key: charge.key.as_str().to_owned(),
        amount: money(charge.amount),
        method: charge.method.as_str().to_owned(),
    }
}

fn money(amount: Money) -> provider::Money {
    provider::Money {
        // Money is never negative.
        minor: amount.minor().unsigned_abs(),
        currency: amount.currency().code().to_owned(),
    }
}

impl From<provider::Verdict> for Verdict {
    fn from(verdict: provider::Verdict) -> Self {
        match verdict {
            provider::Verdict::Taken(transaction) => Self::Succeeded(TransactionId::from(transaction)),
            provider::Verdict::Declined => Self::Declined,
            provider::Verdict::Withdrawn => Self::Withdrawn,
        }
    }
}

impl From<provider::ChargeState> for LookedUp {
    fn from(state: provider::ChargeState) -> Self {
        match state {
            provider::ChargeState::Unknown => Self::Unknown,
            provider::ChargeState::Pending => Self::Pending,
            provider::ChargeState::Settled(verdict) => Self::Settled(verdict.into()),
        }
    }
}

impl From<provider::NotAnswered> for NoAnswer {
    /// A provider that fails says nothing: what became of it is looked up later.
    fn from(not_answered: provider::NotAnswered) -> Self {
        log::line(
            Level::Warn,
            "provider unavailable",
            &[("error", &not_answered.reason)],
        );
        Self
    }
}
