//! How an order is paid: what ordering admits and payment understands.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The methods of the simulated provider, named as a well-known card processor names its test cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub enum PaymentMethod {
    /// Succeeds.
    #[default]
    #[serde(rename = "pm_card_visa")]
    Visa,
    /// Is declined.
    #[serde(rename = "pm_card_chargeDeclined")]
    ChargeDeclined,
    /// Succeeds after two seconds.
    #[serde(rename = "pm_card_slow")]
    Slow,
    /// The first call for a charge gets no answer, though the charge may have happened.
    #[serde(rename = "pm_card_flaky")]
    Flaky,
}

/// A name that is no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of pm_card_visa, pm_card_chargeDeclined, pm_card_slow, pm_card_flaky")]
pub struct UnknownPaymentMethod;

impl PaymentMethod {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Visa, Self::ChargeDeclined, Self::Slow, Self::Flaky];

    /// The name on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Visa => "pm_card_visa",
            Self::ChargeDeclined => "pm_card_chargeDeclined",
            Self::Slow => "pm_card_slow",
            Self::Flaky => "pm_card_flaky",
        }
    }
}

impl FromStr for PaymentMethod {
    type Err = UnknownPaymentMethod;

    fn from_str(name: &str) -> Result<Self, UnknownPaymentMethod> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == name)
            .ok_or(UnknownPaymentMethod)
    }
}
