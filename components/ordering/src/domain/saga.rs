//! The saga's decisions: what the other services tell, and what an order makes of it. Pure, so that a model can
//! drive it.
//!
//! Facts may come twice, late, or before the one that should precede them. Each is decided so that the order ends
//! the same: what an order has left behind changes nothing, and what implies a step that has not been seen yet
//! takes that step along.

use super::order::{Order, OrderStatus, StatusReason};
use contracts::{Event, OrderCompleted, OrderPaid};

/// What ordering is told of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The attempt of this number took the money.
    PaymentCompleted {
        attempt: u32,
    },
    /// The attempt of this number was declined.
    PaymentFailed {
        attempt: u32,
    },
    ShipmentCreated,
    ShipmentDelivered,
}

impl Fact {
    /// The event that tells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PaymentCompleted { .. } => "PaymentCompleted",
            Self::PaymentFailed { .. } => "PaymentFailed",
            Self::ShipmentCreated => "ShipmentCreated",
            Self::ShipmentDelivered => "ShipmentDelivered",
        }
    }
}

/// What brought a status about, as the order's history shows it.
pub type Cause = &'static str;

/// One change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub status: OrderStatus,
    pub reason: Option<StatusReason>,
}

impl Transition {
    fn to(status: OrderStatus) -> Self {
        Self { status, reason: None }
    }
}

/// What an order makes of a fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The order moves on (in one step, or in two where the fact implies one that was not seen), and tells of it.
    Advance {
        transitions: Vec<Transition>,
        events: Vec<Event>,
    },
    /// The order has left that behind.
    Stale,
    /// Something that must come first has not come yet.
    NotYet,
}

/// What `order` makes of `fact`.
#[must_use]
pub fn decide(order: &Order, fact: Fact) -> Decision {
    match fact {
        Fact::PaymentCompleted { attempt } => paid(order, attempt),
        Fact::PaymentFailed { attempt } => declined(order, attempt),
        Fact::ShipmentCreated => shipped(order),
        Fact::ShipmentDelivered => delivered(order),
    }
}

fn paid(order: &Order, attempt: u32) -> Decision {
    match order.status {
        OrderStatus::Created | OrderStatus::PaymentFailed if attempt >= order.payment_attempt => {
            let event = OrderPaid {
                order_id: order.id,
                user_id: order.user_id,
                delivery_address: order.delivery_address.clone(),
            };
            advance([OrderStatus::PaymentCompleted], [event.into()])
        }
        _ => Decision::Stale,
    }
}

fn declined(order: &Order, attempt: u32) -> Decision {
    match order.status {
        OrderStatus::Created if attempt >= order.payment_attempt => Decision::Advance {
            transitions: vec![Transition {
                status: OrderStatus::PaymentFailed,
                reason: Some(StatusReason::CardDeclined),
            }],
            events: Vec::new(),
        },
        _ => Decision::Stale,
    }
}

fn shipped(order: &Order) -> Decision {
    match order.status {
        OrderStatus::PaymentCompleted => advance([OrderStatus::Shipping], []),
        // Delivery ships what ordering declared paid: that word is still on its way back.
        OrderStatus::Created | OrderStatus::PaymentFailed => Decision::NotYet,
        OrderStatus::Shipping | OrderStatus::Completed | OrderStatus::Cancelled => Decision::Stale,
    }
}

fn delivered(order: &Order) -> Decision {
    let completed = || [OrderCompleted { order_id: order.id }.into()];
    match order.status {
        OrderStatus::Shipping => advance([OrderStatus::Completed], completed()),
        // What was delivered was shipped.
        OrderStatus::PaymentCompleted => {
            advance([OrderStatus::Shipping, OrderStatus::Completed], completed())
        }
        OrderStatus::Created | OrderStatus::PaymentFailed => Decision::NotYet,
        OrderStatus::Completed | OrderStatus::Cancelled => Decision::Stale,
    }
}

fn advance<const T: usize, const E: usize>(statuses: [OrderStatus; T], events: [Event; E]) -> Decision {
    Decision::Advance {
        transitions: statuses.map(Transition::to).into(),
        events: events.into(),
    }
}

impl Order {
    /// The order after `fact`, if it moved on.
    pub fn take(&mut self, fact: Fact, decision: &Decision) {
        if let Fact::PaymentCompleted { attempt } | Fact::PaymentFailed { attempt } = fact {
            self.payment_attempt = self.payment_attempt.max(attempt);
        }
        if let Decision::Advance { transitions, .. } = decision
            && let Some(last) = transitions.last()
        {
            self.status = last.status;
            self.status_reason = last.reason;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{Money, OrderId, PaymentMethod, Timestamp, UserId};

    /// Reads like the business: given an order that heard these facts, when it hears one more, then…
    struct Given(Order);

    fn given(facts: &[Fact]) -> Given {
        let now = Timestamp::now();
        let mut order = Order {
            id: OrderId::new(),
            user_id: UserId::new(),
            status: OrderStatus::Created,
            status_reason: None,
            total: Money::ZERO,
            delivery_address: "1 Rose Street".to_owned(),
            payment_method: PaymentMethod::Visa,
            payment_due_at: None,
            payment_attempt: 0,
            version: 1,
            items: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        for fact in facts {
            let decision = decide(&order, *fact);
            order.take(*fact, &decision);
        }
        Given(order)
    }

    impl Given {
        fn when(mut self, fact: Fact) -> (Decision, Order) {
            let decision = decide(&self.0, fact);
            self.0.take(fact, &decision);
            (decision, self.0)
        }
    }

    const PAID: Fact = Fact::PaymentCompleted { attempt: 1 };
    const DECLINED: Fact = Fact::PaymentFailed { attempt: 1 };

    fn event_types(decision: &Decision) -> Vec<&str> {
        match decision {
            Decision::Advance { events, .. } => events.iter().map(Event::event_type).collect(),
            Decision::Stale | Decision::NotYet => Vec::new(),
        }
    }

    #[test]
    fn a_paid_order_asks_delivery_to_ship_it() {
        let (decision, order) = given(&[]).when(PAID);
        assert_eq!(order.status, OrderStatus::PaymentCompleted);
        assert_eq!(event_types(&decision), ["OrderPaid"]);
    }

    #[test]
    fn a_shipped_order_is_on_its_way_and_a_delivered_one_completed() {
        let (_, order) = given(&[PAID]).when(Fact::ShipmentCreated);
        assert_eq!(order.status, OrderStatus::Shipping);
        let (decision, order) = given(&[PAID, Fact::ShipmentCreated]).when(Fact::ShipmentDelivered);
        assert_eq!(order.status, OrderStatus::Completed);
        assert_eq!(event_types(&decision), ["OrderCompleted"]);
    }

    #[test]
    fn every_fact_heard_again_changes_nothing() {
        let story = [PAID, Fact::ShipmentCreated, Fact::ShipmentDelivered];
        for end in 1..=story.len() {
            for again in &story[..end] {
                let (decision, _) = given(&story[..end]).when(*again);
                assert_eq!(decision, Decision::Stale, "{again:?} after {:?}", &story[..end]);
            }
        }
    }

    #[test]
    fn a_delivery_heard_before_its_shipment_takes_both_steps() {
        let (decision, order) = given(&[PAID]).when(Fact::ShipmentDelivered);
        let Decision::Advance { transitions, .. } = decision else {
            panic!("{decision:?}")
        };
        let statuses: Vec<_> = transitions.iter().map(|transition| transition.status).collect();
        assert_eq!(statuses, [OrderStatus::Shipping, OrderStatus::Completed]);
        assert_eq!(decide(&order, Fact::ShipmentCreated), Decision::Stale);
    }

    #[test]
    fn a_shipment_heard_before_the_payment_waits_for_it() {
        for fact in [Fact::ShipmentCreated, Fact::ShipmentDelivered] {
            assert_eq!(given(&[]).when(fact).0, Decision::NotYet);
        }
    }

    #[test]
    fn a_declined_card_fails_the_payment_and_a_later_attempt_may_still_pay() {
        let (_, order) = given(&[]).when(DECLINED);
        assert_eq!(order.status, OrderStatus::PaymentFailed);
        assert_eq!(order.status_reason, Some(StatusReason::CardDeclined));
        let (decision, order) = given(&[DECLINED]).when(Fact::PaymentCompleted { attempt: 2 });
        assert_eq!(order.status, OrderStatus::PaymentCompleted);
        assert_eq!(order.status_reason, None);
        assert_eq!(event_types(&decision), ["OrderPaid"]);
    }

    #[test]
    fn an_older_attempt_and_a_failure_after_the_completion_are_ignored() {
        let second_declined = [DECLINED, Fact::PaymentFailed { attempt: 2 }];
        assert_eq!(given(&second_declined).when(PAID).0, Decision::Stale);
        assert_eq!(
            given(&[PAID]).when(Fact::PaymentFailed { attempt: 2 }).0,
            Decision::Stale
        );
    }
}
