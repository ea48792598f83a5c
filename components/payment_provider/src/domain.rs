//! What the simulated provider's cards do, and what it says of a charge. They behave like the test cards of real
//! providers: one pays, one is declined, one is slow, and one makes the charge but loses its answer. Refunds are
//! reliable whatever the card.

use std::time::Duration;
use uuid::Uuid;

/// The last word on a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The money was taken, under this name.
    Taken(String),
    /// The card does not pay.
    Declined,
    /// The charge was withdrawn before it was made.
    Withdrawn,
}

/// A charge as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    pub key: String,
    pub amount_minor: i64,
    pub currency: String,
    pub method: String,
}

/// A refund as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    pub key: String,
    /// The key of the charge.
    pub charge: String,
    pub amount_minor: i64,
    pub currency: String,
}

/// How a charge is treated that nobody has asked for before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub verdict: Verdict,
    pub settles_after: Duration,
    /// Whether the call that makes the charge hears of it.
    pub answers: bool,
}

impl Terms {
    /// What closes the key of a charge that was not made.
    pub const WITHDRAWN: Self = Self {
        verdict: Verdict::Withdrawn,
        settles_after: Duration::ZERO,
        answers: true,
    };

    /// How this card is treated. One that it does not know does not pay.
    pub fn of(method: &str, transaction_id: impl FnOnce() -> String) -> Self {
        let (settles_after, answers) = match method {
            "pm_card_visa" => (Duration::ZERO, true),
            "pm_card_slow" => (Duration::from_secs(2), true),
            "pm_card_flaky" => (Duration::ZERO, false),
            _ => {
                return Self {
                    verdict: Verdict::Declined,
                    settles_after: Duration::ZERO,
                    answers: true,
                };
            }
        };
        Self {
            verdict: Verdict::Taken(transaction_id()),
            settles_after,
            answers,
        }
    }

    /// What the call that came upon `charged` is told.
    #[must_use]
    pub fn answer(&self, charged: Recorded) -> Answer {
        if charged.is_first && !self.answers {
            Answer::Lost
        } else if charged.settles_in.is_zero() {
            Answer::Now(charged.verdict)
        } else {
            Answer::After(charged.settles_in, charged.verdict)
        }
    }
}

/// What is said of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Now(Verdict),
    /// Once it has settled.
    After(Duration, Verdict),
    /// Nothing, though the charge was made.
    Lost,
}

/// A charge as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub verdict: Verdict,
    /// Whether this call made it.
    pub is_first: bool,
    /// Zero once it has settled.
    pub settles_in: Duration,
}

impl Recorded {
    /// The verdict, once there is one to be told.
    #[must_use]
    pub fn settled(self) -> Option<Verdict> {
        self.settles_in.is_zero().then_some(self.verdict)
    }
}

/// A new name for a charge that takes the money.
#[must_use]
pub fn transaction_id() -> String {
    format!("txn_{}", Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(method: &str) -> Terms {
        Terms::of(method, || "txn_1".to_owned())
    }

    fn recorded(terms: &Terms, is_first: bool) -> Recorded {
        Recorded {
            verdict: terms.verdict.clone(),
            is_first,
            settles_in: terms.settles_after,
        }
    }

    fn taken() -> Verdict {
        Verdict::Taken("txn_1".to_owned())
    }

    #[test]
    fn a_good_card_pays_at_once() {
        let visa = terms("pm_card_visa");
        let charge = recorded(&visa, true);
        assert_eq!(visa.answer(charge.clone()), Answer::Now(taken()));
        assert_eq!(charge.settled(), Some(taken()));
    }

    #[test]
    fn a_bad_card_and_an_unknown_one_are_declined() {
        for method in ["pm_card_chargeDeclined", "pm_card_of_nobody", ""] {
            let bad = terms(method);
            let answer = bad.answer(recorded(&bad, true));
            assert_eq!(answer, Answer::Now(Verdict::Declined), "{method}");
        }
    }

    #[test]
    fn a_slow_card_is_pending_until_it_has_settled() {
        let slow = terms("pm_card_slow");
        let charge = recorded(&slow, true);
        let delay = Duration::from_secs(2);
        assert_eq!(slow.answer(charge.clone()), Answer::After(delay, taken()));
        assert_eq!(charge.clone().settled(), None);

        let later = Recorded {
            settles_in: Duration::ZERO,
            ..charge
        };
        assert_eq!(later.settled(), Some(taken()));
    }

    #[test]
    fn a_flaky_card_loses_the_answer_of_the_call_that_makes_the_charge_alone() {
        let flaky = terms("pm_card_flaky");
        assert_eq!(flaky.answer(recorded(&flaky, true)), Answer::Lost);
        assert_eq!(flaky.answer(recorded(&flaky, false)), Answer::Now(taken()));
    }

    #[test]
    fn a_charge_that_was_made_before_it_was_withdrawn_keeps_its_verdict() {
        let made = Recorded {
            verdict: taken(),
            is_first: false,
            settles_in: Duration::ZERO,
        };
        assert_eq!(made.settled(), Some(taken()));
        let closed = recorded(&Terms::WITHDRAWN, true);
        assert_eq!(closed.settled(), Some(Verdict::Withdrawn));
    }
}
