//! One attempt to collect what an order costs, from its start to its end.

use super::charge::{FailureReason, TransactionId, Verdict};
use contracts::{
    Event, Money, OrderId, PaymentCompleted, PaymentFailed, PaymentId, PaymentMethod, PaymentRefunded,
    Timestamp, UserId,
};

/// What an attempt is about. It never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    /// From 1.
    pub number: u32,
    pub user_id: UserId,
    pub amount: Money,
    pub method: PaymentMethod,
}

/// Where an attempt is, with what is known there and nowhere else: only who took money has a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum PaymentState {
    /// The provider has not been asked.
    Pending,
    /// The provider is being asked, or was, and its answer is not known: it is looked up, never asked blindly again.
    Processing,
    Completed(TransactionId),
    Failed(FailureReason),
    /// What was taken has been given back.
    Refunded(TransactionId),
}

/// The bare word for a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    Pending,
    Processing,
    Completed,
    Failed,
    Refunded,
}

/// Words that make up no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state of a payment")]
pub struct UnknownState;

impl PaymentStatus {
    /// The spelling in answers and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Refunded => "refunded",
        }
    }
}

impl PaymentState {
    /// The state that was taken apart into these words.
    ///
    /// # Errors
    /// If they contradict each other, or one is not ours.
    pub fn from_words(
        status: &str,
        transaction_id: Option<String>,
        failure_reason: Option<&str>,
    ) -> Result<Self, UnknownState> {
        match (status, transaction_id, failure_reason) {
            ("pending", None, None) => Ok(Self::Pending),
            ("processing", None, None) => Ok(Self::Processing),
            ("completed", Some(id), None) => Ok(Self::Completed(id.into())),
            ("refunded", Some(id), None) => Ok(Self::Refunded(id.into())),
            ("failed", None, Some(reason)) => reason.parse().map(Self::Failed).map_err(|_| UnknownState),
            _ => Err(UnknownState),
        }
    }

    #[must_use]
    pub fn status(&self) -> PaymentStatus {
        match self {
            Self::Pending => PaymentStatus::Pending,
            Self::Processing => PaymentStatus::Processing,
            Self::Completed(_) => PaymentStatus::Completed,
            Self::Failed(_) => PaymentStatus::Failed,
            Self::Refunded(_) => PaymentStatus::Refunded,
        }
    }

    #[must_use]
    pub fn transaction_id(&self) -> Option<&TransactionId> {
        match self {
            Self::Completed(id) | Self::Refunded(id) => Some(id),
            Self::Pending | Self::Processing | Self::Failed(_) => None,
        }
    }

    /// Whether it ended before it was charged.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        let reason = self.failure_reason();
        reason.is_some_and(|reason| reason != FailureReason::CardDeclined)
    }

    #[must_use]
    pub fn failure_reason(&self) -> Option<FailureReason> {
        match self {
            Self::Failed(reason) => Some(*reason),
            Self::Pending | Self::Processing | Self::Completed(_) | Self::Refunded(_) => None,
        }
    }
}

/// A payment: an attempt and where it is. Its state moves by the methods below alone: pending → processing →
/// completed or failed, and from completed → refunded.
#[derive(Clone, Debug, PartialEq)]
pub struct Payment {
    attempt: Attempt,
    state: PaymentState,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Payment {
    /// A payment that the provider has not been asked for.
    #[must_use]
    pub fn new(attempt: Attempt, now: Timestamp) -> Self {
        Self::restore(attempt, PaymentState::Pending, now, now)
    }

    /// A payment as it was stored.
    #[must_use]
    pub fn restore(
        attempt: Attempt,
        state: PaymentState,
        created_at: Timestamp,
        updated_at: Timestamp,
    ) -> Self {
        Self {
            attempt,
            state,
            created_at,
            updated_at,
        }
    }

    /// The provider is going to be asked. To be stored before it is. A payment that was started stays as it is.
    pub fn start(&mut self, now: Timestamp) {
        if self.state == PaymentState::Pending {
            self.state = PaymentState::Processing;
            self.updated_at = now;
        }
    }

    /// The order was cancelled before the provider was asked. A payment that was started stays as it is.
    pub fn withdraw(&mut self, now: Timestamp) {
        if self.state == PaymentState::Pending {
            self.state = PaymentState::Failed(FailureReason::OrderCancelled);
            self.updated_at = now;
        }
    }

    /// Ends as the provider says, and gives the event that tells of it. A payment that was withdrawn fails for the
    /// reason `withdrawn_for` and tells nothing: who cancelled the order, or is about to, knows. No change unless the
    /// payment is processing: what has ended stays as it is.
    pub fn settle(
        &mut self,
        verdict: Verdict,
        withdrawn_for: FailureReason,
        now: Timestamp,
    ) -> Option<Event> {
        if self.state != PaymentState::Processing {
            return None;
        }
        let Attempt {
            payment_id,
            order_id,
            number,
            amount,
            ..
        } = self.attempt;
        self.updated_at = now;
        match verdict {
            Verdict::Succeeded(id) => {
                let event = PaymentCompleted {
                    order_id,
                    payment_id,
                    attempt: number,
                    amount,
                    transaction_id: id.to_string(),
                };
                self.state = PaymentState::Completed(id);
                Some(event.into())
            }
            Verdict::Declined => {
                let reason = FailureReason::CardDeclined;
                self.state = PaymentState::Failed(reason);
                let event = PaymentFailed {
                    order_id,
                    payment_id,
                    attempt: number,
                    reason: reason.as_str().to_owned(),
                };
                Some(event.into())
            }
            Verdict::Withdrawn => {
                self.state = PaymentState::Failed(withdrawn_for);
                None
            }
        }
    }

    /// The provider gave back what it took; the event that tells of it. `None`, and no change, unless the payment is
    /// completed: money goes back once.
    pub fn refund(&mut self, now: Timestamp) -> Option<Event> {
        let PaymentState::Completed(id) = &self.state else {
            return None;
        };
        self.state = PaymentState::Refunded(id.clone());
        self.updated_at = now;
        let event = PaymentRefunded {
            order_id: self.attempt.order_id,
            payment_id: self.attempt.payment_id,
            attempt: self.attempt.number,
            amount: self.attempt.amount,
        };
        Some(event.into())
    }

    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    #[must_use]
    pub fn state(&self) -> &PaymentState {
        &self.state
    }

    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        self.updated_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a payment was withdrawn, where none is.
    const NEVER: FailureReason = FailureReason::OrderCancelled;

    fn attempt() -> Attempt {
        Attempt {
            payment_id: PaymentId::new(),
            order_id: OrderId::new(),
            number: 1,
            user_id: UserId::new(),
            amount: Money::rub(15_000).unwrap(),
            method: PaymentMethod::Visa,
        }
    }

    fn pending() -> Payment {
        Payment::new(attempt(), Timestamp::now())
    }

    fn processing() -> Payment {
        let mut payment = pending();
        payment.start(Timestamp::now());
        payment
    }

    fn succeeded(id: &str) -> Verdict {
        Verdict::Succeeded(id.to_owned().into())
    }

    #[test]
    fn a_charge_that_succeeds_completes_the_payment_and_tells_of_it() {
        let mut payment = processing();
        let event = payment.settle(succeeded("t-1"), NEVER, Timestamp::now());
        assert_eq!(payment.state().status(), PaymentStatus::Completed);
        let Some(Event::PaymentCompleted(event)) = event else {
            panic!("{event:?}")
        };
        assert_eq!(event.payment_id, payment.attempt().payment_id);
        assert_eq!(event.order_id, payment.attempt().order_id);
        assert_eq!(event.amount, payment.attempt().amount);
        assert_eq!((event.attempt, event.transaction_id.as_str()), (1, "t-1"));
    }

    #[test]
    fn a_charge_that_is_declined_fails_the_payment_and_tells_why() {
        let mut payment = processing();
        let event = payment.settle(Verdict::Declined, NEVER, Timestamp::now());
        assert_eq!(
            payment.state().failure_reason(),
            Some(FailureReason::CardDeclined)
        );
        assert_eq!(payment.state().transaction_id(), None);
        let Some(Event::PaymentFailed(event)) = event else {
            panic!("{event:?}")
        };
        assert_eq!(event.reason, "card_declined");
    }

    #[test]
    fn a_completed_payment_is_refunded_once_and_keeps_its_transaction() {
        let mut payment = processing();
        payment.settle(succeeded("t-1"), NEVER, Timestamp::now());
        let Some(Event::PaymentRefunded(event)) = payment.refund(Timestamp::now()) else {
            panic!("{payment:?}")
        };
        assert_eq!(event.payment_id, payment.attempt().payment_id);
        assert_eq!(event.amount, payment.attempt().amount);
        assert_eq!(*payment.state(), PaymentState::Refunded("t-1".to_owned().into()));
        assert_eq!(payment.refund(Timestamp::now()), None);
    }

    #[test]
    fn a_payment_that_took_nothing_is_not_refunded() {
        let mut failed = processing();
        failed.settle(Verdict::Declined, NEVER, Timestamp::now());
        for mut payment in [pending(), processing(), failed] {
            let before = payment.clone();
            assert_eq!(payment.refund(Timestamp::now()), None);
            assert_eq!(payment, before);
        }
    }

    #[test]
    fn a_payment_is_withdrawn_before_it_is_started_and_not_afterwards() {
        let mut payment = pending();
        payment.withdraw(Timestamp::now());
        assert_eq!(
            payment.state().failure_reason(),
            Some(FailureReason::OrderCancelled)
        );
        let mut payment = processing();
        payment.withdraw(Timestamp::now());
        assert_eq!(*payment.state(), PaymentState::Processing);
    }

    #[test]
    fn a_payment_that_the_provider_withdrew_fails_and_tells_nothing() {
        for reason in [FailureReason::OrderCancelled, FailureReason::PaymentDeadline] {
            let mut payment = processing();
            assert_eq!(payment.settle(Verdict::Withdrawn, reason, Timestamp::now()), None);
            assert_eq!(payment.state().failure_reason(), Some(reason));
        }
    }

    #[test]
    fn a_payment_that_has_ended_or_was_never_started_takes_no_verdict() {
        let now = Timestamp::now();
        let mut completed = processing();
        completed.settle(succeeded("t-1"), NEVER, now);
        let mut failed = processing();
        failed.settle(Verdict::Declined, NEVER, now);
        for payment in [pending(), completed, failed] {
            for verdict in [succeeded("t-2"), Verdict::Declined] {
                let mut after = payment.clone();
                assert_eq!(after.settle(verdict, NEVER, now), None);
                assert_eq!(after, payment);
            }
        }
    }

    #[test]
    fn a_payment_that_has_ended_is_not_started_again() {
        let mut payment = processing();
        payment.settle(succeeded("t-1"), NEVER, Timestamp::now());
        let before = payment.clone();
        payment.start(Timestamp::now());
        assert_eq!(payment, before);
    }

    #[test]
    fn a_state_reads_back_from_its_words_and_contradictions_do_not() {
        let ended = PaymentState::Completed("t-1".to_owned().into());
        let states = [
            PaymentState::Pending,
            PaymentState::Processing,
            ended,
            PaymentState::Failed(FailureReason::CardDeclined),
            PaymentState::Failed(FailureReason::OrderCancelled),
            PaymentState::Failed(FailureReason::PaymentDeadline),
            PaymentState::Refunded("t-1".to_owned().into()),
        ];
        for state in states {
            let id = state.transaction_id().map(ToString::to_string);
            let reason = state.failure_reason().map(FailureReason::as_str);
            assert_eq!(
                PaymentState::from_words(state.status().as_str(), id, reason),
                Ok(state)
            );
        }
        let contradictions = [
            ("completed", None, None),
            ("completed", Some("t-1"), Some("card_declined")),
            ("failed", Some("t-1"), None),
            ("failed", None, Some("boredom")),
            ("processing", Some("t-1"), None),
            ("refunded", None, None),
            ("eaten", None, None),
        ];
        for (status, id, reason) in contradictions {
            let read = PaymentState::from_words(status, id.map(str::to_owned), reason);
            assert_eq!(read, Err(UnknownState), "{status} {id:?} {reason:?}");
        }
    }
}
