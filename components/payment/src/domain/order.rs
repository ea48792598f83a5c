//! An order as payment knows it: what is to be collected, and every attempt to do so.

use super::charge::{Charge, Verdict};
use super::payment::{Attempt, Payment, PaymentState};
use contracts::{Event, Money, OrderId, PaymentId, PaymentMethod, Timestamp, UserId};

/// What ordering tells of an order that was placed.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedOrder {
    pub id: OrderId,
    pub user_id: UserId,
    /// What it costs.
    pub amount: Money,
    pub method: PaymentMethod,
}

/// An order from first contact. At most one of its payments is under way or took the money, and it is the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub placed: PlacedOrder,
    /// Raised by every handled event.
    pub version: i64,
    /// Oldest first.
    payments: Vec<Payment>,
}

impl Order {
    /// Hears of an order for the first time: its first attempt starts. To be stored before the provider is asked.
    #[must_use]
    pub fn open(placed: PlacedOrder, payment_id: PaymentId, now: Timestamp) -> Self {
        let attempt = Attempt {
            payment_id,
            order_id: placed.id,
            number: 1,
            user_id: placed.user_id,
            amount: placed.amount,
            method: placed.method,
        };
        let mut payment = Payment::new(attempt, now);
        payment.start(now);
        Self {
            placed,
            version: 1,
            payments: vec![payment],
        }
    }

    /// An order as it was stored; `payments` are oldest first.
    #[must_use]
    pub fn restore(placed: PlacedOrder, version: i64, payments: Vec<Payment>) -> Self {
        Self {
            placed,
            version,
            payments,
        }
    }

    #[must_use]
    pub fn id(&self) -> OrderId {
        self.placed.id
    }

    /// Every attempt, oldest first.
    #[must_use]
    pub fn payments(&self) -> &[Payment] {
        &self.payments
    }

    /// The charge whose outcome is awaited.
    #[must_use]
    pub fn charge_under_way(&self) -> Option<Charge> {
        self.payments
            .last()
            .filter(|payment| *payment.state() == PaymentState::Processing)
            .map(|payment| Charge::of(payment.attempt()))
    }

    /// Ends the attempt that is under way as the provider says; the payment as it is then, and the event that tells
    /// of it. `None`, and no change, if no attempt is under way.
    pub fn settle(&mut self, verdict: Verdict, now: Timestamp) -> Option<(Payment, Event)> {
        let payment = self.payments.last_mut()?;
        let event = payment.settle(verdict, now)?;
        Some((payment.clone(), event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureReason;

    fn opened() -> Order {
        let placed = PlacedOrder {
            id: OrderId::new(),
            user_id: UserId::new(),
            amount: Money::rub(15_000).unwrap(),
            method: PaymentMethod::Visa,
        };
        Order::open(placed, PaymentId::new(), Timestamp::now())
    }

    #[test]
    fn an_order_that_is_heard_of_first_has_one_charge_under_way_for_its_total() {
        let order = opened();
        let charge = order.charge_under_way().unwrap();
        assert_eq!(charge.amount, order.placed.amount);
        assert_eq!(charge.method, order.placed.method);
        let payment_id = order.payments()[0].attempt().payment_id;
        assert_eq!(charge.key.as_str(), format!("{payment_id}:1"));
    }

    #[test]
    fn an_order_is_settled_once() {
        for verdict in [
            Verdict::Succeeded("t-1".to_owned().into()),
            Verdict::Declined(FailureReason::CardDeclined),
        ] {
            let mut order = opened();
            let now = Timestamp::now();
            assert!(order.settle(verdict.clone(), now).is_some());
            assert_eq!(order.charge_under_way(), None);
            assert_eq!(order.settle(verdict, now), None);
        }
    }
}
