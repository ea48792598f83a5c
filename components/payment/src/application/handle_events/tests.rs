//! The use case between a store and a provider in memory, both of which can fail at any step.

use super::*;
use crate::application::in_memory::{Fault, Ledger, Store};
use crate::domain::{Charge, ChargeKey, FailureReason, PaymentStatus, Refund, Verdict};
use contracts::{
    ChargeLookUpDue, Money, OrderCancelled, OrderCompleted, OrderCreated, OrderId, PaymentMethod, UserId,
};
use event_batch::Outcome;
use futures::executor::block_on;
use proptest::prelude::*;

fn placed(method: PaymentMethod) -> (OrderId, Received) {
    placed_until(method, None)
}

/// The same, with a deadline.
fn placed_until(method: PaymentMethod, payment_due_at: Option<Timestamp>) -> (OrderId, Received) {
    let order_id = OrderId::new();
    let event = OrderCreated {
        order_id,
        user_id: UserId::new(),
        total: Money::rub(15_000).unwrap(),
        payment_method: method,
        payment_due_at,
        items: Vec::new(),
    };
    (order_id, received(event))
}

/// The cancellation of the order.
fn cancelled(order_id: OrderId) -> Received {
    received(OrderCancelled {
        order_id,
        reason: "cancelled_by_user".to_owned(),
    })
}

fn received(event: impl Into<Event>) -> Received {
    Received {
        id: EventId::new(),
        traceparent: None,
        occurred_at: None,
        event: event.into(),
    }
}

fn handle(store: &Store, ledger: &Ledger, batch: &[Received]) -> Result<Vec<Handled>, StoreError> {
    block_on(handle_events(store, ledger, batch.to_vec()))
}

/// The outcomes in the order of the batch.
fn outcomes(store: &Store, ledger: &Ledger, batch: &[Received]) -> Vec<Outcome> {
    let handled = handle(store, ledger, batch).unwrap();
    let of = |received: &Received| {
        let mut mine = handled.iter().filter(|handled| handled.id == received.id);
        let outcome = mine.next().unwrap().outcome;
        assert_eq!(mine.next(), None, "two outcomes for one event");
        outcome
    };
    batch.iter().map(of).collect()
}

#[test]
fn an_order_that_was_placed_is_charged_and_its_payment_told() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, event) = placed(PaymentMethod::Visa);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!((ledger.charge_calls.get(), ledger.look_ups.get()), (1, 0));
}

#[test]
fn a_declined_card_fails_the_payment_and_tells_it() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, event) = placed(PaymentMethod::ChargeDeclined);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Failed);
    assert_eq!(store.told(), ["PaymentFailed"]);
}

#[test]
fn an_event_that_comes_again_is_a_duplicate_and_asks_nobody() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (_, event) = placed(PaymentMethod::Visa);
    handle(&store, &ledger, std::slice::from_ref(&event)).unwrap();
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Duplicate]);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!((ledger.charge_calls.get(), ledger.look_ups.get()), (1, 0));
}

#[test]
fn an_event_twice_in_one_batch_has_its_effect_once() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (_, event) = placed(PaymentMethod::Visa);
    let handled = handle(&store, &ledger, &[event.clone(), event]).unwrap();
    assert_eq!(handled.len(), 1);
    assert_eq!(ledger.charge_calls.get(), 1);
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn an_order_told_of_by_another_event_is_not_charged_again() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, event) = placed(PaymentMethod::Visa);
    let again = received(event.event.clone());
    let third = received(event.event.clone());
    assert_eq!(
        outcomes(&store, &ledger, &[event, again]),
        [Outcome::Processed; 2]
    );
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&third)),
        [Outcome::Processed]
    );
    assert_eq!(outcomes(&store, &ledger, &[third]), [Outcome::Duplicate]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!(ledger.charge_calls.get(), 1);
}

#[test]
fn an_event_that_is_not_for_payment_is_rejected_and_the_rest_handled() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order_id, event) = placed(PaymentMethod::Visa);
    let foreign = received(OrderCompleted { order_id });
    let batch = [foreign, event];
    assert_eq!(
        outcomes(&store, &ledger, &batch),
        [Outcome::Rejected, Outcome::Processed]
    );
}

#[test]
fn an_attempt_whose_charge_never_reached_the_provider_is_looked_up_and_then_charged_under_its_key() {
    let (store, ledger) = (
        Store::default().fails_to_open([Fault::Unknown]),
        Ledger::default(),
    );
    let (order, event) = placed(PaymentMethod::Visa);
    assert!(handle(&store, &ledger, std::slice::from_ref(&event)).is_err());
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert_eq!(ledger.len(), 0);

    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!((ledger.charge_calls.get(), ledger.look_ups.get()), (1, 1));
    let key = ChargeKey::of(store.payment(order).attempt());
    assert!(ledger.charges.borrow().contains_key(&key));
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn an_attempt_whose_outcome_was_not_stored_is_looked_up_and_not_charged_again() {
    let (store, ledger) = (Store::default().fails_to_store([Fault::Lost]), Ledger::default());
    let (order, event) = placed(PaymentMethod::Visa);
    assert!(handle(&store, &ledger, std::slice::from_ref(&event)).is_err());
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert_eq!(ledger.len(), 1);

    let ledger = ledger.with_charges_settled(&store);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!((ledger.charge_calls.get(), ledger.look_ups.get()), (1, 1));
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn an_outcome_that_was_stored_though_the_answer_was_lost_is_a_duplicate_next_time() {
    let (store, ledger) = (
        Store::default().fails_to_store([Fault::Unknown]),
        Ledger::default(),
    );
    let (_, event) = placed(PaymentMethod::Visa);
    assert!(handle(&store, &ledger, std::slice::from_ref(&event)).is_err());
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Duplicate]);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!(ledger.charge_calls.get(), 1);
}

#[test]
fn a_provider_that_is_silent_puts_the_event_off_and_its_charge_is_found_later() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, event) = placed(PaymentMethod::Flaky);
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&event)),
        [Outcome::Retry]
    );
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert!(store.inbox.borrow().is_empty());
    assert!(store.told().is_empty());

    // Looked up: pending at first, then settled.
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&event)),
        [Outcome::Retry]
    );
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!(ledger.charge_calls.get(), 1);
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn a_provider_that_is_down_puts_events_off_and_charges_nothing() {
    let (store, ledger) = (Store::default(), Ledger::default());
    ledger.is_down.set(true);
    let (_, event) = placed(PaymentMethod::Visa);
    for _ in 0..5 {
        assert_eq!(
            outcomes(&store, &ledger, std::slice::from_ref(&event)),
            [Outcome::Retry]
        );
    }
    ledger.is_down.set(false);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

#[test]
fn a_slow_charge_holds_back_nothing_else_of_its_batch() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (slow, first) = placed(PaymentMethod::Slow);
    let (quick, second) = placed(PaymentMethod::Visa);
    let batch = [first, second];
    assert_eq!(
        outcomes(&store, &ledger, &batch),
        [Outcome::Retry, Outcome::Processed]
    );
    assert_eq!(store.status(slow), PaymentStatus::Processing);
    assert_eq!(store.status(quick), PaymentStatus::Completed);
}

#[test]
fn an_order_whose_version_moved_on_is_decided_again() {
    for fault in [Fault::Raced, Fault::Contention] {
        let (store, ledger) = (Store::default().fails_to_store([fault]), Ledger::default());
        // Settled at its second look-up: the one that this test is about comes after a first.
        let (order, event) = placed(PaymentMethod::Visa);
        assert_eq!(
            outcomes(&store, &ledger, std::slice::from_ref(&event)),
            [Outcome::Retry]
        );
        assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
        assert_eq!(store.status(order), PaymentStatus::Completed);
        assert_eq!(store.told(), ["PaymentCompleted"]);
        assert_eq!(ledger.charge_calls.get(), 1);
    }
}

#[test]
fn an_order_that_keeps_changing_is_put_off_after_three_tries() {
    let store = Store::default().fails_to_open([Fault::Contention; 3]);
    let ledger = Ledger::default();
    let (_, event) = placed(PaymentMethod::Visa);
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&event)),
        [Outcome::Retry]
    );
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
}

#[test]
fn an_attempt_that_another_transaction_is_storing_is_not_charged_blindly() {
    let (store, ledger) = (Store::default().fails_to_open([Fault::Raced]), Ledger::default());
    let (_, event) = placed(PaymentMethod::Visa);
    assert_eq!(outcomes(&store, &ledger, &[event]), [Outcome::Processed]);
    assert_eq!(ledger.look_ups.get(), 1);
    assert_eq!(ledger.len(), 1);
}

#[test]
fn a_cancellation_that_comes_before_its_order_refuses_the_charge() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::Visa);
    assert_eq!(
        outcomes(&store, &ledger, &[cancelled(order)]),
        [Outcome::Processed]
    );
    assert_eq!(outcomes(&store, &ledger, &[created]), [Outcome::Processed]);
    assert_eq!(store.orders.borrow()[&order].payments(), []);
    assert!(store.orders.borrow()[&order].placed().is_some());
    assert_eq!((ledger.len(), store.told().len()), (0, 0));
}

#[test]
fn an_order_and_its_cancellation_in_one_batch_are_not_charged() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::Visa);
    let batch = [created, cancelled(order)];
    assert_eq!(outcomes(&store, &ledger, &batch), [Outcome::Processed; 2]);
    assert_eq!(store.orders.borrow()[&order].payments(), []);
    assert_eq!((ledger.len(), store.told().len()), (0, 0));
}

#[test]
fn a_completed_payment_is_refunded_once_however_often_the_cancellation_comes() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::Visa);
    handle(&store, &ledger, &[created]).unwrap();
    let cancellation = cancelled(order);
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&cancellation)),
        [Outcome::Processed]
    );
    assert_eq!(store.status(order), PaymentStatus::Refunded);
    assert_eq!(
        outcomes(&store, &ledger, &[cancellation, cancelled(order)]),
        [Outcome::Duplicate, Outcome::Processed]
    );
    assert_eq!(store.told(), ["PaymentCompleted", "PaymentRefunded"]);
    assert_eq!((ledger.refund_calls.get(), ledger.refunds.borrow().len()), (1, 1));
}

#[test]
fn a_refund_whose_answer_was_lost_is_looked_up_and_not_made_again() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::Visa);
    handle(&store, &ledger, &[created]).unwrap();
    ledger.loses_refunds.set(true);
    let cancellation = cancelled(order);
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&cancellation)),
        [Outcome::Retry]
    );
    assert!(
        store.orders.borrow()[&order].is_cancelled(),
        "the intent is stored"
    );
    assert_eq!(store.status(order), PaymentStatus::Completed);

    assert_eq!(outcomes(&store, &ledger, &[cancellation]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Refunded);
    assert_eq!(ledger.refund_calls.get(), 1);
    assert_eq!(store.told(), ["PaymentCompleted", "PaymentRefunded"]);
}

#[test]
fn a_failed_payment_is_not_refunded() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::ChargeDeclined);
    handle(&store, &ledger, &[created]).unwrap();
    assert_eq!(
        outcomes(&store, &ledger, &[cancelled(order)]),
        [Outcome::Processed]
    );
    assert_eq!(
        store.payment(order).state().failure_reason(),
        Some(FailureReason::CardDeclined)
    );
    assert_eq!(store.told(), ["PaymentFailed"]);
    assert_eq!(ledger.refund_calls.get(), 0);
}

#[test]
fn a_charge_under_way_is_looked_up_when_its_order_is_cancelled_and_what_it_took_is_refunded() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::Slow);
    handle(&store, &ledger, &[created]).unwrap();
    let cancellation = cancelled(order);
    // The provider has not decided yet.
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&cancellation)),
        [Outcome::Retry]
    );
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert_eq!(outcomes(&store, &ledger, &[cancellation]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Refunded);
    assert_eq!(store.told(), ["PaymentCompleted", "PaymentRefunded"]);
    assert_eq!(ledger.charge_calls.get(), 1);
}

#[test]
fn an_attempt_that_the_provider_has_not_heard_of_is_withdrawn_and_never_charged() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, None);
    assert_eq!(
        outcomes(&store, &ledger, &[cancelled(order)]),
        [Outcome::Processed]
    );
    let payment = store.payment(order);
    assert_eq!(
        payment.state().failure_reason(),
        Some(FailureReason::OrderCancelled)
    );
    assert_eq!((ledger.charge_calls.get(), store.told().len()), (0, 0));
    // Whoever stored the attempt comes to the provider late.
    let late = block_on(ledger.charge(&Charge::of(payment.attempt())));
    assert_eq!(late, Ok(Verdict::Withdrawn));
}

#[test]
fn a_payment_that_completes_after_the_cancellation_is_refunded() {
    let (store, ledger) = (
        Store::default().fails_to_store([Fault::Cancelled]),
        Ledger::default(),
    );
    let (order, created) = placed(PaymentMethod::Visa);
    // Between the charge and the storing of its outcome the order is cancelled by somebody else.
    let first = outcomes(&store, &ledger, std::slice::from_ref(&created));
    assert_eq!(first, [Outcome::Retry]);
    assert_eq!(outcomes(&store, &ledger, &[created]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Refunded);
    assert_eq!(
        outcomes(&store, &ledger, &[cancelled(order)]),
        [Outcome::Processed]
    );
    assert_eq!(store.told(), ["PaymentCompleted", "PaymentRefunded"]);
    assert_eq!((ledger.charge_calls.get(), ledger.refund_calls.get()), (1, 1));
}

#[test]
fn a_provider_that_is_down_puts_a_cancellation_off_and_forgets_nothing() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::Visa);
    handle(&store, &ledger, &[created]).unwrap();
    ledger.is_down.set(true);
    let cancellation = cancelled(order);
    for _ in 0..3 {
        assert_eq!(
            outcomes(&store, &ledger, std::slice::from_ref(&cancellation)),
            [Outcome::Retry]
        );
    }
    ledger.is_down.set(false);
    assert_eq!(outcomes(&store, &ledger, &[cancellation]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Refunded);
}

fn in_the_past() -> Option<Timestamp> {
    "2020-01-01T00:00:00Z".parse().ok()
}

#[test]
fn an_order_that_is_heard_of_after_its_deadline_is_opened_without_a_charge_and_told_to_nobody() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed_until(PaymentMethod::Visa, in_the_past());
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&created)),
        [Outcome::Processed]
    );
    assert_eq!(outcomes(&store, &ledger, &[created]), [Outcome::Duplicate]);
    assert!(!store.orders.borrow()[&order].is_cancelled());
    assert_eq!(store.orders.borrow()[&order].payments(), []);
    assert_eq!((ledger.charge_calls.get(), store.told().len()), (0, 0));
    // Ordering's own timer cancels it.
    assert_eq!(
        outcomes(&store, &ledger, &[cancelled(order)]),
        [Outcome::Processed]
    );
    assert_eq!((ledger.len(), store.told().len()), (0, 0));
}

#[test]
fn an_attempt_that_never_reached_the_provider_is_withdrawn_once_its_deadline_has_passed() {
    let (store, ledger) = (
        Store::default().fails_to_open([Fault::Unknown]),
        Ledger::default(),
    );
    let due_at = Timestamp::now().plus(std::time::Duration::from_secs(900));
    let (order, created) = placed_until(PaymentMethod::Visa, Some(due_at));
    assert!(handle(&store, &ledger, std::slice::from_ref(&created)).is_err());
    assert_eq!(store.status(order), PaymentStatus::Processing);
    store.pass_deadline(order);
    assert_eq!(outcomes(&store, &ledger, &[created]), [Outcome::Processed]);
    let payment = store.payment(order);
    assert_eq!(
        payment.state().failure_reason(),
        Some(FailureReason::PaymentDeadline)
    );
    assert_eq!((ledger.charge_calls.get(), store.told().len()), (0, 0));
    let late = block_on(ledger.charge(&Charge::of(payment.attempt())));
    assert_eq!(late, Ok(Verdict::Withdrawn));
}

#[test]
fn a_charge_that_was_made_before_the_deadline_stands_and_is_refunded_when_the_order_is_cancelled() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::Flaky);
    assert_eq!(
        outcomes(&store, &ledger, std::slice::from_ref(&created)),
        [Outcome::Retry]
    );
    store.pass_deadline(order);
    let ledger = ledger.with_charges_settled(&store);
    assert_eq!(outcomes(&store, &ledger, &[created]), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    outcomes(&store, &ledger, &[cancelled(order)]);
    assert_eq!(store.status(order), PaymentStatus::Refunded);
}

#[test]
fn an_order_is_refunded_whatever_it_was_cancelled_for() {
    let reasons = [
        "card_declined",
        "out_of_stock",
        "payment_deadline",
        "cancelled_by_user",
        "delivery_failed",
        "a reason of tomorrow",
    ];
    for reason in reasons {
        let (store, ledger) = (Store::default(), Ledger::default());
        let (order_id, created) = placed(PaymentMethod::Visa);
        handle(&store, &ledger, &[created]).unwrap();
        let cancelled = received(OrderCancelled {
            order_id,
            reason: reason.to_owned(),
        });
        assert_eq!(outcomes(&store, &ledger, &[cancelled]), [Outcome::Processed]);
        assert_eq!(store.status(order_id), PaymentStatus::Refunded, "{reason}");
        assert_eq!(store.told(), ["PaymentCompleted", "PaymentRefunded"]);
    }
}

#[test]
fn a_timer_of_an_order_that_there_is_not_is_rejected_and_the_rest_handled() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, created) = placed(PaymentMethod::Visa);
    let timer = |order_id| {
        received(ChargeLookUpDue {
            order_id,
            payment_id: PaymentId::new(),
        })
    };
    let batch = [timer(OrderId::new()), timer(order), created];
    assert_eq!(
        outcomes(&store, &ledger, &batch),
        [Outcome::Rejected, Outcome::Processed, Outcome::Processed]
    );
    assert_eq!(store.orders.borrow().len(), 1);
    assert_eq!(store.told(), ["PaymentCompleted"]);
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Unknown),
        1 => Just(Fault::Contention),
        1 => Just(Fault::Raced),
    ]
}

proptest! {
    /// Whatever fails, and however events are repeated and grouped: once all is quiet, each order was charged once
    /// and its end told once, and every event is in the inbox.
    #[test]
    fn every_order_is_charged_once_and_its_end_told_once(
        methods in prop::collection::vec(prop::sample::select(PaymentMethod::ALL.as_slice()), 1..6),
        batches in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..6), 1..8),
        open_faults in prop::collection::vec(fault(), 0..12),
        store_faults in prop::collection::vec(fault(), 0..12),
        is_down in prop::collection::vec(any::<bool>(), 8),
    ) {
        let store = Store::default().fails_to_open(open_faults).fails_to_store(store_faults);
        let ledger = Ledger::default();
        let orders: Vec<_> = methods.into_iter().map(placed).collect();
        for (batch, is_down) in batches.iter().zip(is_down) {
            ledger.is_down.set(is_down);
            let batch: Vec<_> = batch.iter().map(|index| index.get(&orders).1.clone()).collect();
            // What fails comes again below.
            let _ = handle(&store, &ledger, &batch);
        }
        ledger.is_down.set(false);
        let events: Vec<_> = orders.iter().map(|(_, event)| event.clone()).collect();
        let is_quiet = (0..40).any(|_| {
            handle(&store, &ledger, &events)
                .is_ok_and(|handled| handled.iter().all(|handled| handled.outcome == Outcome::Duplicate))
        });
        prop_assert!(is_quiet);
        prop_assert_eq!(ledger.len(), orders.len());
        prop_assert_eq!(store.told().len(), orders.len());
        for (order, event) in &orders {
            prop_assert!(store.inbox.borrow().contains(&event.id));
            let key = ChargeKey::of(store.payment(*order).attempt());
            let succeeded = matches!(ledger.charges.borrow()[&key], Verdict::Succeeded(_));
            let expected = if succeeded { PaymentStatus::Completed } else { PaymentStatus::Failed };
            prop_assert_eq!(store.status(*order), expected);
        }
    }

    /// Whatever fails, whatever comes first, and however events are repeated: once all is quiet, no money is kept for
    /// an order that was cancelled, none went back twice, and of what was taken everybody was told.
    #[test]
    fn a_cancelled_order_keeps_no_money(
        orders in prop::collection::vec((prop::sample::select(PaymentMethod::ALL.as_slice()), any::<bool>()), 1..5),
        batches in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..6), 1..10),
        open_faults in prop::collection::vec(fault(), 0..12),
        store_faults in prop::collection::vec(fault(), 0..12),
        is_down in prop::collection::vec(any::<bool>(), 10),
        loses_refunds in prop::collection::vec(any::<bool>(), 10),
    ) {
        let store = Store::default().fails_to_open(open_faults).fails_to_store(store_faults);
        let ledger = Ledger::default();
        let orders: Vec<_> = orders
            .into_iter()
            .map(|(method, is_cancelled)| {
                let (order, created) = placed(method);
                (order, created, is_cancelled.then(|| cancelled(order)))
            })
            .collect();
        let created = orders.iter().map(|(_, created, _)| created.clone());
        let cancellations = orders.iter().filter_map(|(_, _, cancelled)| cancelled.clone());
        let events: Vec<_> = created.chain(cancellations).collect();
        for ((batch, is_down), loses_refunds) in batches.iter().zip(is_down).zip(loses_refunds) {
            ledger.is_down.set(is_down);
            ledger.loses_refunds.set(loses_refunds);
            let batch: Vec<_> = batch.iter().map(|index| index.get(&events).clone()).collect();
            // What fails comes again below.
            let _ = handle(&store, &ledger, &batch);
        }
        ledger.is_down.set(false);
        ledger.loses_refunds.set(false);
        let is_quiet = (0..40).any(|_| {
            handle(&store, &ledger, &events)
                .is_ok_and(|handled| handled.iter().all(|handled| handled.outcome == Outcome::Duplicate))
        });
        prop_assert!(is_quiet);
        let mut expected: Vec<&str> = Vec::new();
        for (id, _, cancelled) in &orders {
            let order = store.orders.borrow()[id].clone();
            prop_assert_eq!(order.is_cancelled(), cancelled.is_some());
            prop_assert_eq!(order.errand(), None);
            prop_assert!(order.payments().len() <= 1);
            let Some(payment) = order.payments().first() else {
                prop_assert!(cancelled.is_some());
                continue;
            };
            let charged = ledger.charges.borrow()[&ChargeKey::of(payment.attempt())].clone();
            let refund = Refund::of(payment.attempt());
            let is_refunded = ledger.refunds.borrow().contains_key(&refund.key);
            let (status, told): (_, &[&str]) = match (charged, cancelled.is_some()) {
                (Verdict::Succeeded(_), false) => (PaymentStatus::Completed, &["PaymentCompleted"]),
                (Verdict::Succeeded(_), true) => {
                    (PaymentStatus::Refunded, &["PaymentCompleted", "PaymentRefunded"])
                }
                (Verdict::Declined, _) => (PaymentStatus::Failed, &["PaymentFailed"]),
                (Verdict::Withdrawn, _) => (PaymentStatus::Failed, &[]),
            };
            prop_assert_eq!(payment.state().status(), status);
            prop_assert_eq!(is_refunded, status == PaymentStatus::Refunded);
            expected.extend(told);
        }
        let mut told = store.told();
        told.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(told, expected);
    }
}
