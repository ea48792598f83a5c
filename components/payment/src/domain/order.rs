//! An order as payment knows it: what is to be collected, every attempt to do so, and whether it was cancelled.

use super::charge::{Charge, FailureReason, Refund, Verdict};
use super::payment::{Attempt, Payment, PaymentState};
use contracts::{Event, Money, OrderId, PaymentId, PaymentMethod, Timestamp, UserId};

/// What ordering tells of an order that was placed.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedOrder {
    pub user_id: UserId,
    /// What it costs.
    pub amount: Money,
    /// The order's own method; an attempt may use another.
    pub method: PaymentMethod,
    /// No charge starts after it. `None` for an order that was placed before there were deadlines.
    pub payment_due_at: Option<Timestamp>,
}

impl PlacedOrder {
    /// Whether it is too late to start a charge.
    fn is_overdue(&self, now: Timestamp) -> bool {
        self.payment_due_at.is_some_and(|due_at| due_at < now)
    }
}

/// Whether what an order costs is to be collected.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderState {
    Placed(PlacedOrder),
    /// For good: no attempt starts any more, and what was taken goes back. Without what was placed it is a tombstone:
    /// the cancellation came first.
    Cancelled(Option<PlacedOrder>),
}

/// What the provider has to be asked for before an order is at rest. It is the order's state as it is stored that
/// says so: whoever stored it may have asked already.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    /// An attempt is under way. If it was not charged yet, it is charged as long as the order [is payable], and
    /// withdrawn otherwise.
    ///
    /// [is payable]: Order::is_payable
    Charge(Charge),
    /// Money was taken for an order that was cancelled.
    Refund(Refund),
}

/// What comes of the wish to pay an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paying {
    /// An attempt starts. To be stored before the provider is asked.
    Started,
    /// The last attempt is under way: it is not charged again.
    UnderWay,
    /// The order is paid.
    Stands,
}

/// Why nobody pays for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPayable {
    #[error("the order was cancelled")]
    Cancelled,
    /// Ordering cancels it, moments later at most.
    #[error("the order's payment deadline has passed")]
    Overdue,
}

/// An order from first contact. At most one of its payments is under way or took the money, and it is the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    id: OrderId,
    state: OrderState,
    /// Raised by everything that is stored of the order.
    pub version: i64,
    /// Oldest first.
    payments: Vec<Payment>,
}

impl Order {
    /// Hears of an order for the first time: its first attempt starts, unless its deadline has passed already. To be
    /// stored before the provider is asked.
    #[must_use]
    pub fn open(id: OrderId, placed: PlacedOrder, payment_id: PaymentId, now: Timestamp) -> Self {
        let mut order = Self::restore(id, OrderState::Placed(placed.clone()), 1, Vec::new());
        if !placed.is_overdue(now) {
            order.attempt(&placed, placed.method, payment_id, now);
        }
        order
    }

    /// Hears of an order that is cancelled already: nothing is ever charged for it.
    #[must_use]
    pub fn cancelled(id: OrderId, placed: Option<PlacedOrder>) -> Self {
        Self::restore(id, OrderState::Cancelled(placed), 1, Vec::new())
    }

    /// An order as it was stored; `payments` are oldest first.
    #[must_use]
    pub fn restore(id: OrderId, state: OrderState, version: i64, payments: Vec<Payment>) -> Self {
        Self {
            id,
            state,
            version,
            payments,
        }
    }

    #[must_use]
    pub fn id(&self) -> OrderId {
        self.id
    }

    #[must_use]
    pub fn state(&self) -> &OrderState {
        &self.state
    }

    /// What was placed; `None` of a tombstone.
    #[must_use]
    pub fn placed(&self) -> Option<&PlacedOrder> {
        match &self.state {
            OrderState::Placed(placed) => Some(placed),
            OrderState::Cancelled(placed) => placed.as_ref(),
        }
    }

    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.state, OrderState::Cancelled(_))
    }

    /// Whether a charge may start: the order stands, and its deadline has not passed. To be asked right before the
    /// provider is.
    #[must_use]
    pub fn is_payable(&self, now: Timestamp) -> bool {
        matches!(&self.state, OrderState::Placed(placed) if !placed.is_overdue(now))
    }

    /// Whether this payment is under way.
    #[must_use]
    pub fn is_processing(&self, payment_id: PaymentId) -> bool {
        let last = self.payments.last();
        last.is_some_and(|last| {
            last.attempt().payment_id == payment_id && *last.state() == PaymentState::Processing
        })
    }

    /// Every attempt, oldest first.
    #[must_use]
    pub fn payments(&self) -> &[Payment] {
        &self.payments
    }

    /// Hears what was placed. Only a tombstone learns from that, and it stays cancelled.
    pub fn hear(&mut self, placed: PlacedOrder) {
        if self.state == OrderState::Cancelled(None) {
            self.state = OrderState::Cancelled(Some(placed));
        }
    }

    /// Nothing is charged from now on. A payment that was not started fails; one that was, and may have taken money,
    /// becomes an [`Errand`]. To be stored before the provider is asked. Gives whether the order was not cancelled
    /// before.
    pub fn cancel(&mut self, now: Timestamp) -> bool {
        let OrderState::Placed(placed) = &self.state else {
            return false;
        };
        self.state = OrderState::Cancelled(Some(placed.clone()));
        if let Some(payment) = self.payments.last_mut() {
            payment.withdraw(now);
        }
        true
    }

    /// Starts the next attempt, by the order's own method if none is named, unless one is under way or took the money.
    ///
    /// # Errors
    /// If the order was cancelled, or an attempt would start after its deadline.
    pub fn pay(
        &mut self,
        method: Option<PaymentMethod>,
        payment_id: PaymentId,
        now: Timestamp,
    ) -> Result<Paying, NotPayable> {
        let OrderState::Placed(placed) = &self.state else {
            return Err(NotPayable::Cancelled);
        };
        let placed = placed.clone();
        let last = self.payments.last_mut();
        match last.as_ref().map(|payment| payment.state()) {
            Some(PaymentState::Processing) => return Ok(Paying::UnderWay),
            Some(PaymentState::Completed(_) | PaymentState::Refunded(_)) => return Ok(Paying::Stands),
            _ if placed.is_overdue(now) => return Err(NotPayable::Overdue),
            Some(PaymentState::Pending) => last.into_iter().for_each(|payment| payment.start(now)),
            Some(PaymentState::Failed(_)) | None => {
                self.attempt(&placed, method.unwrap_or(placed.method), payment_id, now);
            }
        }
        Ok(Paying::Started)
    }

    /// What the provider has to be asked for.
    #[must_use]
    pub fn errand(&self) -> Option<Errand> {
        let payment = self.payments.last()?;
        let attempt = payment.attempt();
        match payment.state() {
            PaymentState::Processing => Some(Errand::Charge(Charge::of(attempt))),
            PaymentState::Completed(_) if self.is_cancelled() => Some(Errand::Refund(Refund::of(attempt))),
            _ => None,
        }
    }

    /// Ends the attempt that is under way as the provider says, and gives the event that tells of it, if one does.
    pub fn settle(&mut self, verdict: Verdict, now: Timestamp) -> Option<Event> {
        let withdrawn_for = if self.is_cancelled() {
            FailureReason::OrderCancelled
        } else {
            FailureReason::PaymentDeadline
        };
        self.payments.last_mut()?.settle(verdict, withdrawn_for, now)
    }

    /// What was taken has been given back; the event that tells of it. `None`, and no change, unless the order was
    /// cancelled and its payment is completed.
    pub fn refund(&mut self, now: Timestamp) -> Option<Event> {
        if !self.is_cancelled() {
            return None;
        }
        self.payments.last_mut()?.refund(now)
    }

    /// Starts the next attempt.
    fn attempt(
        &mut self,
        placed: &PlacedOrder,
        method: PaymentMethod,
        payment_id: PaymentId,
        now: Timestamp,
    ) {
        let number = self.payments.last().map_or(0, |last| last.attempt().number);
        let attempt = Attempt {
            payment_id,
            order_id: self.id,
            number: number.saturating_add(1),
            user_id: placed.user_id,
            amount: placed.amount,
            method,
        };
        let mut payment = Payment::new(attempt, now);
        payment.start(now);
        self.payments.push(payment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PaymentStatus;
    use std::time::Duration;

    fn placed() -> PlacedOrder {
        PlacedOrder {
            user_id: UserId::new(),
            amount: Money::rub(15_000).unwrap(),
            method: PaymentMethod::Visa,
            payment_due_at: None,
        }
    }

    /// An order with a deadline, opened just in time, and a moment that is too late.
    fn due() -> (Order, Timestamp) {
        let now = Timestamp::now();
        let placed = PlacedOrder {
            payment_due_at: Some(now),
            ..placed()
        };
        let order = Order::open(OrderId::new(), placed, PaymentId::new(), now);
        (order, now.plus(Duration::from_micros(1)))
    }

    fn opened() -> Order {
        Order::open(OrderId::new(), placed(), PaymentId::new(), Timestamp::now())
    }

    fn succeeded() -> Verdict {
        Verdict::Succeeded("t-1".to_owned().into())
    }

    fn declined() -> Verdict {
        Verdict::Declined
    }

    fn settled(verdict: Verdict) -> Order {
        let mut order = opened();
        order.settle(verdict, Timestamp::now());
        order
    }

    fn pay(order: &mut Order, method: Option<PaymentMethod>) -> Result<Paying, NotPayable> {
        order.pay(method, PaymentId::new(), Timestamp::now())
    }

    fn statuses(order: &Order) -> Vec<PaymentStatus> {
        order
            .payments()
            .iter()
            .map(|payment| payment.state().status())
            .collect()
    }

    #[test]
    fn an_order_that_is_heard_of_first_has_one_charge_under_way_for_its_total() {
        let order = opened();
        let Some(Errand::Charge(charge)) = order.errand() else {
            panic!("{order:?}")
        };
        assert_eq!(charge.amount, order.placed().unwrap().amount);
        assert_eq!(charge.method, order.placed().unwrap().method);
        let payment_id = order.payments()[0].attempt().payment_id;
        assert_eq!(charge.key.as_str(), format!("{payment_id}:1"));
    }

    #[test]
    fn an_order_is_settled_once() {
        for verdict in [succeeded(), declined()] {
            let mut order = opened();
            let now = Timestamp::now();
            assert!(order.settle(verdict.clone(), now).is_some());
            assert_eq!(order.errand(), None);
            assert_eq!(order.settle(verdict, now), None);
        }
    }

    #[test]
    fn a_cancellation_that_comes_first_is_a_tombstone_that_refuses_the_charge() {
        let mut order = Order::cancelled(OrderId::new(), None);
        order.hear(placed());
        assert!(order.is_cancelled());
        assert!(order.placed().is_some());
        assert_eq!(order.payments(), []);
        assert_eq!(order.errand(), None);
        assert_eq!(pay(&mut order, None), Err(NotPayable::Cancelled));
    }

    #[test]
    fn a_payment_that_was_not_started_fails_when_its_order_is_cancelled() {
        let started = opened();
        let attempt = started.payments()[0].attempt().clone();
        let pending = Payment::new(attempt, Timestamp::now());
        let mut order = Order::restore(started.id(), started.state().clone(), 1, vec![pending]);
        assert!(order.cancel(Timestamp::now()));
        assert_eq!(
            order.payments()[0].state().failure_reason(),
            Some(FailureReason::OrderCancelled)
        );
        assert_eq!(order.errand(), None);
    }

    #[test]
    fn a_payment_under_way_is_withdrawn_when_its_order_is_cancelled_and_what_it_took_is_refunded() {
        let mut order = opened();
        assert!(order.cancel(Timestamp::now()));
        assert!(matches!(order.errand(), Some(Errand::Charge(_))));
        assert!(!order.is_payable(Timestamp::now()));
        order.settle(succeeded(), Timestamp::now());
        let Some(Errand::Refund(refund)) = order.errand() else {
            panic!("{order:?}")
        };
        let payment_id = order.payments()[0].attempt().payment_id;
        assert_eq!(refund.key.as_str(), format!("{payment_id}:1:refund"));
        assert_eq!(refund.charge.as_str(), format!("{payment_id}:1"));
        assert!(matches!(
            order.refund(Timestamp::now()),
            Some(Event::PaymentRefunded(_))
        ));
        assert_eq!(order.errand(), None);
        assert_eq!(statuses(&order), [PaymentStatus::Refunded]);
    }

    #[test]
    fn a_completed_payment_is_refunded_once_when_its_order_is_cancelled() {
        let mut order = settled(succeeded());
        assert_eq!(order.refund(Timestamp::now()), None, "the order stands");
        assert!(order.cancel(Timestamp::now()));
        assert!(matches!(order.errand(), Some(Errand::Refund(_))));
        assert!(order.refund(Timestamp::now()).is_some());
        assert!(!order.cancel(Timestamp::now()), "it was cancelled before");
        assert_eq!(order.errand(), None);
        assert_eq!(order.refund(Timestamp::now()), None);
    }

    #[test]
    fn a_failed_payment_stays_as_it_is_when_its_order_is_cancelled() {
        let mut order = settled(declined());
        let before = order.payments().to_vec();
        order.cancel(Timestamp::now());
        assert_eq!(order.payments(), before);
        assert_eq!(order.errand(), None);
    }

    #[test]
    fn a_declined_order_is_payable_again_by_its_own_method_or_another() {
        for (named, expected) in [
            (None, PaymentMethod::Visa),
            (Some(PaymentMethod::Slow), PaymentMethod::Slow),
        ] {
            let mut order = settled(declined());
            assert_eq!(pay(&mut order, named), Ok(Paying::Started));
            let attempt = order.payments()[1].attempt();
            assert_eq!((attempt.number, attempt.method), (2, expected));
            assert_eq!(
                statuses(&order),
                [PaymentStatus::Failed, PaymentStatus::Processing]
            );
            assert!(
                matches!(order.errand(), Some(Errand::Charge(charge)) if charge.key.as_str().ends_with(":2"))
            );
        }
    }

    #[test]
    fn the_events_of_every_attempt_carry_its_number() {
        let mut order = settled(declined());
        pay(&mut order, None).unwrap();
        let Some(Event::PaymentFailed(event)) = order.settle(declined(), Timestamp::now()) else {
            panic!("{order:?}")
        };
        assert_eq!(event.attempt, 2);
        pay(&mut order, None).unwrap();
        let Some(Event::PaymentCompleted(event)) = order.settle(succeeded(), Timestamp::now()) else {
            panic!("{order:?}")
        };
        assert_eq!(event.attempt, 3);
        order.cancel(Timestamp::now());
        let Some(Event::PaymentRefunded(event)) = order.refund(Timestamp::now()) else {
            panic!("{order:?}")
        };
        assert_eq!(event.attempt, 3);
    }

    #[test]
    fn an_order_is_not_paid_twice_nor_while_a_payment_is_under_way() {
        assert_eq!(pay(&mut opened(), None), Ok(Paying::UnderWay));
        assert_eq!(pay(&mut settled(succeeded()), None), Ok(Paying::Stands));
    }

    #[test]
    fn a_cancelled_order_is_not_paid_whatever_became_of_its_payment() {
        for mut order in [opened(), settled(succeeded()), settled(declined())] {
            order.cancel(Timestamp::now());
            assert_eq!(pay(&mut order, None), Err(NotPayable::Cancelled));
        }
    }

    #[test]
    fn an_order_that_is_heard_of_after_its_deadline_is_not_charged() {
        let (in_time, late) = due();
        assert_eq!(in_time.payments().len(), 1);
        let placed = in_time.placed().unwrap().clone();
        let mut order = Order::open(OrderId::new(), placed, PaymentId::new(), late);
        assert_eq!(order.payments(), []);
        assert_eq!(order.errand(), None);
        assert!(!order.is_cancelled(), "that is ordering's word");
        assert_eq!(order.pay(None, PaymentId::new(), late), Err(NotPayable::Overdue));
    }

    #[test]
    fn no_attempt_starts_after_the_deadline_and_what_stands_or_is_under_way_is_found() {
        let (mut order, late) = due();
        let pay = |order: &mut Order| order.pay(None, PaymentId::new(), late);
        assert_eq!(pay(&mut order), Ok(Paying::UnderWay));
        let mut completed = order.clone();
        completed.settle(succeeded(), late);
        assert_eq!(pay(&mut completed), Ok(Paying::Stands));
        order.settle(declined(), late);
        assert_eq!(pay(&mut order), Err(NotPayable::Overdue));
        assert_eq!(statuses(&order), [PaymentStatus::Failed]);
    }

    #[test]
    fn an_attempt_is_charged_until_the_deadline_and_withdrawn_after_it() {
        let (mut order, late) = due();
        assert!(order.is_payable(order.placed().unwrap().payment_due_at.unwrap()));
        assert!(!order.is_payable(late));
        assert_eq!(order.settle(Verdict::Withdrawn, late), None, "nobody is told");
        let reason = order.payments()[0].state().failure_reason();
        assert_eq!(reason, Some(FailureReason::PaymentDeadline));
        assert_eq!(order.errand(), None);
    }

    #[test]
    fn a_charge_that_was_made_before_the_deadline_stands_when_it_is_found_after_it() {
        let (mut order, late) = due();
        assert!(matches!(
            order.settle(succeeded(), late),
            Some(Event::PaymentCompleted(_))
        ));
        assert_eq!(order.errand(), None);
    }

    #[test]
    fn an_attempt_that_was_withdrawn_for_a_cancelled_order_says_so_after_the_deadline_too() {
        let (mut order, late) = due();
        order.cancel(late);
        order.settle(Verdict::Withdrawn, late);
        let reason = order.payments()[0].state().failure_reason();
        assert_eq!(reason, Some(FailureReason::OrderCancelled));
    }

    #[test]
    fn only_the_last_payment_can_be_processing() {
        let mut order = settled(declined());
        let first = order.payments()[0].attempt().payment_id;
        assert!(!order.is_processing(first));
        pay(&mut order, None).unwrap();
        let second = order.payments()[1].attempt().payment_id;
        assert!(order.is_processing(second) && !order.is_processing(first));
        order.settle(succeeded(), Timestamp::now());
        assert!(!order.is_processing(second));
    }
}
