//! The saga's decisions: what the other services and the client tell, and what an order makes of it. Pure, so that a
//! model can drive it.
//!
//! Facts may come twice, late, or before the one that should precede them. Each is decided so that the order ends
//! the same: what an order has left behind changes nothing, and what implies a step that has not been seen yet
//! takes that step along.
//!
//! Payment and stock are asked at the same time, and `OrderPaid` needs both: it is the point of no return. Until then
//! an order may be cancelled, and `OrderCancelled` has the others undo what they did for it; whatever they tell of it
//! afterwards changes no status here, for they know what to undo. After it only delivery can fail.

use super::order::{Order, OrderStatus, StatusReason};
use contracts::{Event, OrderCancelled, OrderCompleted, OrderPaid};

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
    /// What was taken has been given back.
    PaymentRefunded,
    /// The catalog keeps for the order what it needs.
    StockReserved,
    /// The catalog has not enough.
    StockRejected,
    ShipmentCreated,
    ShipmentDelivered,
    /// The courier brings it back.
    ShipmentFailed,
    /// Whoever has not paid by now does not get the flowers.
    PaymentDeadlinePassed,
    /// The order's owner, or an admin, does not want it any more.
    CancelledByUser,
    /// An event about the order is a dead letter: an operator is to look at it.
    EventDeadLettered,
    /// An operator has had a dead letter handled again.
    DeadLetterRetried,
    /// An operator has found that a dead letter is of no use.
    DeadLetterDiscarded,
}

impl Fact {
    /// The event that tells it, or the request.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PaymentCompleted { .. } => "PaymentCompleted",
            Self::PaymentFailed { .. } => "PaymentFailed",
            Self::PaymentRefunded => "PaymentRefunded",
            Self::StockReserved => "StockReserved",
            Self::StockRejected => "StockRejected",
            Self::ShipmentCreated => "ShipmentCreated",
            Self::ShipmentDelivered => "ShipmentDelivered",
            Self::ShipmentFailed => "ShipmentFailed",
            Self::PaymentDeadlinePassed => "PaymentDeadlinePassed",
            Self::CancelledByUser => "CancelledByUser",
            Self::EventDeadLettered => "EventDeadLettered",
            Self::DeadLetterRetried | Self::DeadLetterDiscarded => "DeadLetterResolved",
        }
    }
}

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

/// A fact worth telling the client that is no change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    StockReserved,
    /// A further attempt to pay was declined.
    PaymentFailed,
    /// The money was taken though the order was cancelled by then: it goes back.
    PaymentCompleted,
    PaymentRefunded,
    DeadLetter,
    DeadLetterRetried,
    DeadLetterDiscarded,
}

impl Note {
    /// The spelling in answers and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StockReserved => "stock_reserved",
            Self::PaymentFailed => "payment_failed",
            Self::PaymentCompleted => "payment_completed",
            Self::PaymentRefunded => "payment_refunded",
            Self::DeadLetter => "dead_letter",
            Self::DeadLetterRetried => "dead_letter_retried",
            Self::DeadLetterDiscarded => "dead_letter_discarded",
        }
    }
}

/// What an order makes of a fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The order moves on (in one step, or in two where the fact implies one that was not seen), or learns something,
    /// and tells of it.
    Advance {
        transitions: Vec<Transition>,
        note: Option<Note>,
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
        Fact::PaymentRefunded => note(Note::PaymentRefunded, []),
        Fact::StockReserved => reserved(order),
        Fact::StockRejected => withdrawn(order, StatusReason::OutOfStock),
        Fact::ShipmentCreated => shipped(order),
        Fact::ShipmentDelivered => delivered(order),
        Fact::ShipmentFailed => brought_back(order),
        Fact::PaymentDeadlinePassed => overdue(order),
        Fact::CancelledByUser => withdrawn(order, StatusReason::CancelledByUser),
        Fact::EventDeadLettered => note(Note::DeadLetter, []),
        Fact::DeadLetterRetried => note(Note::DeadLetterRetried, []),
        Fact::DeadLetterDiscarded => note(Note::DeadLetterDiscarded, []),
    }
}

fn paid(order: &Order, attempt: u32) -> Decision {
    match order.status {
        OrderStatus::Created | OrderStatus::PaymentFailed if attempt >= order.payment_attempt => {
            let transition = [OrderStatus::PaymentCompleted];
            if order.stock_reserved {
                advance(transition, [hand_over(order)])
            } else {
                advance(transition, [])
            }
        }
        OrderStatus::Cancelled if attempt > order.payment_attempt => note(Note::PaymentCompleted, []),
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
            note: None,
            events: Vec::new(),
        },
        OrderStatus::PaymentFailed if attempt > order.payment_attempt => note(Note::PaymentFailed, []),
        _ => Decision::Stale,
    }
}

fn reserved(order: &Order) -> Decision {
    match order.status {
        _ if order.stock_reserved => Decision::Stale,
        OrderStatus::Created | OrderStatus::PaymentFailed => note(Note::StockReserved, []),
        OrderStatus::PaymentCompleted => note(Note::StockReserved, [hand_over(order)]),
        OrderStatus::Shipping | OrderStatus::Completed | OrderStatus::Cancelled => Decision::Stale,
    }
}

fn withdrawn(order: &Order, reason: StatusReason) -> Decision {
    if order.can_be_cancelled() {
        cancel(order, reason, [])
    } else {
        Decision::Stale
    }
}

/// Whoever has paid in time waits for the stock without a deadline.
fn overdue(order: &Order) -> Decision {
    match order.status {
        OrderStatus::Created | OrderStatus::PaymentFailed => cancel(order, StatusReason::PaymentDeadline, []),
        OrderStatus::PaymentCompleted
        | OrderStatus::Shipping
        | OrderStatus::Completed
        | OrderStatus::Cancelled => Decision::Stale,
    }
}

fn shipped(order: &Order) -> Decision {
    match order.status {
        OrderStatus::PaymentCompleted if order.stock_reserved => advance([OrderStatus::Shipping], []),
        // Delivery ships what ordering handed over: that word is still on its way back.
        OrderStatus::PaymentCompleted | OrderStatus::Created | OrderStatus::PaymentFailed => Decision::NotYet,
        OrderStatus::Shipping | OrderStatus::Completed | OrderStatus::Cancelled => Decision::Stale,
    }
}

fn delivered(order: &Order) -> Decision {
    let completed = || [OrderCompleted { order_id: order.id }.into()];
    match order.status {
        OrderStatus::Shipping => advance([OrderStatus::Completed], completed()),
        // What was delivered was shipped.
        OrderStatus::PaymentCompleted if order.stock_reserved => {
            advance([OrderStatus::Shipping, OrderStatus::Completed], completed())
        }
        OrderStatus::PaymentCompleted | OrderStatus::Created | OrderStatus::PaymentFailed => Decision::NotYet,
        OrderStatus::Completed | OrderStatus::Cancelled => Decision::Stale,
    }
}

fn brought_back(order: &Order) -> Decision {
    match order.status {
        OrderStatus::Shipping => cancel(order, StatusReason::DeliveryFailed, []),
        // What comes back was shipped.
        OrderStatus::PaymentCompleted if order.stock_reserved => {
            cancel(order, StatusReason::DeliveryFailed, [OrderStatus::Shipping])
        }
        OrderStatus::PaymentCompleted | OrderStatus::Created | OrderStatus::PaymentFailed => Decision::NotYet,
        OrderStatus::Completed | OrderStatus::Cancelled => Decision::Stale,
    }
}

/// The point of no return: from here on only delivery can fail.
fn hand_over(order: &Order) -> Event {
    let event = OrderPaid {
        order_id: order.id,
        user_id: order.user_id,
        delivery_address: order.delivery_address.clone(),
    };
    event.into()
}

fn advance<const T: usize, const E: usize>(statuses: [OrderStatus; T], events: [Event; E]) -> Decision {
    Decision::Advance {
        transitions: statuses.map(Transition::to).into(),
        note: None,
        events: events.into(),
    }
}

/// Cancels the order, which was `first` in these statuses without anybody having said so.
fn cancel<const T: usize>(order: &Order, reason: StatusReason, first: [OrderStatus; T]) -> Decision {
    let event = OrderCancelled {
        order_id: order.id,
        reason: reason.as_str().to_owned(),
    };
    let last = Transition {
        status: OrderStatus::Cancelled,
        reason: Some(reason),
    };
    Decision::Advance {
        transitions: first.into_iter().map(Transition::to).chain([last]).collect(),
        note: None,
        events: vec![event.into()],
    }
}

fn note<const E: usize>(note: Note, events: [Event; E]) -> Decision {
    Decision::Advance {
        transitions: Vec::new(),
        note: Some(note),
        events: events.into(),
    }
}

impl Order {
    /// Whether its owner may withdraw it: it is neither final nor handed over to delivery, which it is once it is paid
    /// and its stock reserved.
    #[must_use]
    pub fn can_be_cancelled(&self) -> bool {
        match self.status {
            OrderStatus::Created | OrderStatus::PaymentFailed => true,
            OrderStatus::PaymentCompleted => !self.stock_reserved,
            OrderStatus::Shipping | OrderStatus::Completed | OrderStatus::Cancelled => false,
        }
    }

    /// The order after `fact`, if it moved on.
    pub fn take(&mut self, fact: Fact, decision: &Decision) {
        if let Fact::PaymentCompleted { attempt } | Fact::PaymentFailed { attempt } = fact {
            self.payment_attempt = self.payment_attempt.max(attempt);
        }
        let Decision::Advance {
            transitions, note, ..
        } = decision
        else {
            return;
        };
        self.stock_reserved |= *note == Some(Note::StockReserved);
        if let Some(last) = transitions.last() {
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
            stock_reserved: false,
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
    const RESERVED: Fact = Fact::StockReserved;
    const CANCELLED: Fact = Fact::CancelledByUser;
    const STORY: [Fact; 4] = [RESERVED, PAID, Fact::ShipmentCreated, Fact::ShipmentDelivered];

    /// An order in each state that it can be in, by what it has heard.
    const STATES: [(&str, &[Fact]); 9] = [
        ("created", &[]),
        ("created, reserved", &[RESERVED]),
        ("payment_failed", &[DECLINED]),
        ("payment_failed, reserved", &[RESERVED, DECLINED]),
        ("payment_completed", &[PAID]),
        ("payment_completed, reserved", &[RESERVED, PAID]),
        ("shipping", &[RESERVED, PAID, Fact::ShipmentCreated]),
        ("completed", &STORY),
        ("cancelled", &[CANCELLED]),
    ];

    /// What becomes of an order in each state that hears `fact`: its statuses, or why there are none.
    fn table(fact: Fact) -> Vec<(&'static str, Vec<&'static str>)> {
        let outcome = |heard: &[Fact]| match given(heard).when(fact).0 {
            Decision::Advance { transitions, .. } => {
                transitions.iter().map(|to| to.status.as_str()).collect()
            }
            Decision::Stale => vec!["stale"],
            Decision::NotYet => vec!["not yet"],
        };
        STATES.map(|(state, heard)| (state, outcome(heard))).to_vec()
    }

    fn noted(decision: &Decision) -> Option<&'static str> {
        match decision {
            Decision::Advance { note, .. } => note.map(Note::as_str),
            Decision::Stale | Decision::NotYet => None,
        }
    }

    fn event_types(decision: &Decision) -> Vec<&str> {
        match decision {
            Decision::Advance { events, .. } => events.iter().map(Event::event_type).collect(),
            Decision::Stale | Decision::NotYet => Vec::new(),
        }
    }

    #[test]
    fn an_order_is_handed_over_once_it_is_paid_and_its_stock_reserved_whichever_comes_first() {
        for (first, second) in [(PAID, RESERVED), (RESERVED, PAID)] {
            let (decision, _) = given(&[]).when(first);
            assert!(event_types(&decision).is_empty(), "{first:?}");
            let (decision, order) = given(&[first]).when(second);
            assert_eq!(order.status, OrderStatus::PaymentCompleted);
            assert_eq!(event_types(&decision), ["OrderPaid"], "{second:?}");
        }
    }

    #[test]
    fn a_shipped_order_is_on_its_way_and_a_delivered_one_completed() {
        let (_, order) = given(&STORY[..2]).when(Fact::ShipmentCreated);
        assert_eq!(order.status, OrderStatus::Shipping);
        let (decision, order) = given(&STORY[..3]).when(Fact::ShipmentDelivered);
        assert_eq!(order.status, OrderStatus::Completed);
        assert_eq!(event_types(&decision), ["OrderCompleted"]);
    }

    #[test]
    fn every_fact_heard_again_changes_nothing() {
        for end in 1..=STORY.len() {
            for again in &STORY[..end] {
                let (decision, _) = given(&STORY[..end]).when(*again);
                assert_eq!(decision, Decision::Stale, "{again:?} after {:?}", &STORY[..end]);
            }
        }
    }

    #[test]
    fn a_delivery_heard_before_its_shipment_takes_both_steps() {
        let (decision, order) = given(&STORY[..2]).when(Fact::ShipmentDelivered);
        let Decision::Advance { transitions, .. } = decision else {
            panic!("{decision:?}")
        };
        let statuses: Vec<_> = transitions.iter().map(|transition| transition.status).collect();
        assert_eq!(statuses, [OrderStatus::Shipping, OrderStatus::Completed]);
        assert_eq!(decide(&order, Fact::ShipmentCreated), Decision::Stale);
    }

    #[test]
    fn a_shipment_heard_before_what_it_needs_waits_for_it() {
        for fact in [Fact::ShipmentCreated, Fact::ShipmentDelivered] {
            for heard in [&[][..], &[PAID], &[RESERVED]] {
                assert_eq!(given(heard).when(fact).0, Decision::NotYet, "{heard:?}");
            }
        }
    }

    #[test]
    fn a_declined_card_fails_the_payment_and_a_later_attempt_may_still_pay() {
        let (_, order) = given(&[RESERVED]).when(DECLINED);
        assert_eq!(order.status, OrderStatus::PaymentFailed);
        assert_eq!(order.status_reason, Some(StatusReason::CardDeclined));
        let (decision, order) = given(&[RESERVED, DECLINED]).when(Fact::PaymentCompleted { attempt: 2 });
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

    #[test]
    fn what_is_out_of_stock_is_cancelled_paid_or_not() {
        for heard in [&[][..], &[PAID], &[DECLINED]] {
            let (decision, order) = given(heard).when(Fact::StockRejected);
            assert_eq!(order.status, OrderStatus::Cancelled);
            assert_eq!(order.status_reason, Some(StatusReason::OutOfStock));
            assert_eq!(event_types(&decision), ["OrderCancelled"], "{heard:?}");
        }
    }

    #[test]
    fn an_order_can_be_cancelled_until_it_is_handed_over() {
        for heard in [&[][..], &[PAID], &[RESERVED], &[RESERVED, DECLINED]] {
            let (decision, order) = given(heard).when(CANCELLED);
            assert_eq!(order.status_reason, Some(StatusReason::CancelledByUser));
            assert_eq!(event_types(&decision), ["OrderCancelled"], "{heard:?}");
        }
        for end in 2..=STORY.len() {
            assert_eq!(given(&STORY[..end]).when(CANCELLED).0, Decision::Stale);
        }
    }

    #[test]
    fn whoever_has_not_paid_by_the_deadline_does_not_get_the_flowers() {
        assert_eq!(
            table(Fact::PaymentDeadlinePassed),
            [
                ("created", vec!["cancelled"]),
                ("created, reserved", vec!["cancelled"]),
                ("payment_failed", vec!["cancelled"]),
                ("payment_failed, reserved", vec!["cancelled"]),
                ("payment_completed", vec!["stale"]),
                ("payment_completed, reserved", vec!["stale"]),
                ("shipping", vec!["stale"]),
                ("completed", vec!["stale"]),
                ("cancelled", vec!["stale"]),
            ]
        );
        let (decision, order) = given(&[DECLINED]).when(Fact::PaymentDeadlinePassed);
        assert_eq!(order.status_reason, Some(StatusReason::PaymentDeadline));
        assert_eq!(event_types(&decision), ["OrderCancelled"]);
    }

    #[test]
    fn who_paid_in_time_and_waits_for_the_stock_gets_the_flowers_after_the_deadline_too() {
        let (decision, order) = given(&[PAID, Fact::PaymentDeadlinePassed]).when(RESERVED);
        assert_eq!(order.status, OrderStatus::PaymentCompleted);
        assert_eq!(event_types(&decision), ["OrderPaid"]);
    }

    #[test]
    fn an_order_that_could_not_be_delivered_is_cancelled() {
        assert_eq!(
            table(Fact::ShipmentFailed),
            [
                ("created", vec!["not yet"]),
                ("created, reserved", vec!["not yet"]),
                ("payment_failed", vec!["not yet"]),
                ("payment_failed, reserved", vec!["not yet"]),
                ("payment_completed", vec!["not yet"]),
                // What comes back was shipped.
                ("payment_completed, reserved", vec!["shipping", "cancelled"]),
                ("shipping", vec!["cancelled"]),
                ("completed", vec!["stale"]),
                ("cancelled", vec!["stale"]),
            ]
        );
        for heard in [&STORY[..2], &STORY[..3]] {
            let (decision, order) = given(heard).when(Fact::ShipmentFailed);
            assert_eq!(order.status, OrderStatus::Cancelled);
            assert_eq!(order.status_reason, Some(StatusReason::DeliveryFailed));
            assert_eq!(event_types(&decision), ["OrderCancelled"]);
            for late in [CANCELLED, Fact::ShipmentCreated, Fact::ShipmentDelivered] {
                assert_eq!(decide(&order, late), Decision::Stale, "{late:?}");
            }
        }
    }

    #[test]
    fn nobody_cancels_what_is_with_the_courier_though_its_delivery_can_fail() {
        for heard in [&STORY[..2], &STORY[..3]] {
            assert!(!given(heard).0.can_be_cancelled());
        }
    }

    #[test]
    fn dead_letters_are_noted_in_every_state_and_change_none() {
        for (fact, note) in [
            (Fact::EventDeadLettered, "dead_letter"),
            (Fact::DeadLetterRetried, "dead_letter_retried"),
            (Fact::DeadLetterDiscarded, "dead_letter_discarded"),
        ] {
            for (state, heard) in STATES {
                let before = given(heard).0;
                let (decision, after) = Given(before.clone()).when(fact);
                assert_eq!(noted(&decision), Some(note), "{state}");
                assert!(event_types(&decision).is_empty(), "{state}");
                assert_eq!(after, before, "{state}");
            }
        }
    }

    #[test]
    fn whatever_a_cancelled_order_hears_it_stays_cancelled_and_ships_nothing() {
        for reason in [CANCELLED, Fact::StockRejected, Fact::PaymentDeadlinePassed] {
            for late in [
                PAID,
                DECLINED,
                RESERVED,
                Fact::StockRejected,
                CANCELLED,
                Fact::PaymentDeadlinePassed,
                Fact::ShipmentCreated,
                Fact::ShipmentFailed,
            ] {
                let cancelled = given(&[reason]).0;
                let (decision, order) = Given(cancelled.clone()).when(late);
                assert_eq!(order.status_reason, cancelled.status_reason, "{late:?}");
                assert_eq!(order.status, OrderStatus::Cancelled, "{late:?}");
                assert!(event_types(&decision).is_empty(), "{late:?}");
            }
        }
    }

    #[test]
    fn money_that_comes_after_the_cancellation_and_goes_back_is_noted_once() {
        let (decision, order) = given(&[CANCELLED]).when(PAID);
        assert_eq!(noted(&decision), Some("payment_completed"));
        assert_eq!(decide(&order, PAID), Decision::Stale);
        let (decision, order) = Given(order).when(Fact::PaymentRefunded);
        assert_eq!(noted(&decision), Some("payment_refunded"));
        assert_eq!(order.status, OrderStatus::Cancelled);
        // What was taken before is no news.
        assert_eq!(given(&[PAID, CANCELLED]).when(PAID).0, Decision::Stale);
    }

    #[test]
    fn a_further_attempt_that_is_declined_is_noted_once() {
        let again = Fact::PaymentFailed { attempt: 2 };
        let (decision, order) = given(&[DECLINED]).when(again);
        assert_eq!(noted(&decision), Some("payment_failed"));
        assert_eq!(order.status, OrderStatus::PaymentFailed);
        assert_eq!(decide(&order, again), Decision::Stale);
    }
}
