//! What payment and provider say to each other.

use super::payment::Attempt;
use contracts::{Money, PaymentMethod};
use std::fmt;
use std::str::FromStr;

/// The name of a charge at the provider, `<payment id>:<attempt>`: however often it is asked for, it is made once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChargeKey(String);

impl ChargeKey {
    /// The key of this attempt.
    #[must_use]
    pub fn of(attempt: &Attempt) -> Self {
        Self(format!("{}:{}", attempt.payment_id, attempt.number))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the provider is asked to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    pub key: ChargeKey,
    pub amount: Money,
    pub method: PaymentMethod,
}

impl Charge {
    /// The charge of this attempt.
    #[must_use]
    pub fn of(attempt: &Attempt) -> Self {
        Self {
            key: ChargeKey::of(attempt),
            amount: attempt.amount,
            method: attempt.method,
        }
    }
}

/// The name of a refund at the provider, `<payment id>:<attempt>:refund`: however often it is asked for, it is made
/// once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefundKey(String);

impl RefundKey {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the provider is asked to give back: all that a charge took.
#[derive(Clone, Debug, PartialEq)]
pub struct Refund {
    pub key: RefundKey,
    pub charge: ChargeKey,
    pub amount: Money,
}

impl Refund {
    /// The refund of this attempt.
    #[must_use]
    pub fn of(attempt: &Attempt) -> Self {
        let charge = ChargeKey::of(attempt);
        Self {
            key: RefundKey(format!("{}:refund", charge.0)),
            charge,
            amount: attempt.amount,
        }
    }
}

/// The provider's own name for a charge that took the money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionId(String);

impl From<String> for TransactionId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a payment failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    CardDeclined,
    /// It was withdrawn before it was charged, for its order was cancelled.
    OrderCancelled,
    /// It was withdrawn before it was charged, for its order's deadline had passed.
    PaymentDeadline,
}

/// A word that is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be card_declined, order_cancelled or payment_deadline")]
pub struct UnknownReason;

impl FailureReason {
    /// The spelling in answers, events and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CardDeclined => "card_declined",
            Self::OrderCancelled => "order_cancelled",
            Self::PaymentDeadline => "payment_deadline",
        }
    }
}

impl FromStr for FailureReason {
    type Err = UnknownReason;

    fn from_str(word: &str) -> Result<Self, UnknownReason> {
        [Self::CardDeclined, Self::OrderCancelled, Self::PaymentDeadline]
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .ok_or(UnknownReason)
    }
}

/// The provider's last word on a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took the money.
    Succeeded(TransactionId),
    /// The card does not pay: it took nothing, and will not.
    Declined,
    /// It was told to close the key before it was charged: it took nothing, and never will.
    Withdrawn,
}
