//! Paying an order on request, between a store and a provider in memory.

use super::*;
use crate::application::catch_up;
use crate::application::in_memory::{Fault, Ledger, Store};
use crate::domain::{FailureReason, PaymentStatus, Verdict};
use futures::executor::block_on;

fn declined() -> Option<Verdict> {
    Some(Verdict::Declined(FailureReason::CardDeclined))
}

fn pay(
    store: &Store,
    ledger: &Ledger,
    order_id: OrderId,
    method: Option<PaymentMethod>,
) -> Result<Processed, ProcessPaymentError> {
    let command = ProcessPayment {
        order_id,
        method,
        owner: None,
        trace: Traceparent::random(),
    };
    block_on(process_payment(store, ledger, command))
}

fn status(processed: &Processed) -> PaymentStatus {
    let (Processed::Started(payment) | Processed::Found(payment)) = processed;
    payment.state().status()
}

#[test]
fn a_declined_order_is_paid_by_another_card_and_told_with_the_next_number() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::ChargeDeclined, declined());
    let Ok(Processed::Started(payment)) = pay(&store, &ledger, order, Some(PaymentMethod::Visa)) else {
        panic!("nothing was started")
    };
    assert_eq!(payment.state().status(), PaymentStatus::Completed);
    assert_eq!(payment.attempt().number, 2);
    assert_eq!(store.payment(order), payment);
    assert_eq!(store.orders.borrow()[&order].payments().len(), 2);
    let outbox = store.outbox.borrow();
    assert!(
        matches!(outbox.as_slice(), [contracts::Event::PaymentCompleted(event)] if event.attempt == 2),
        "{outbox:?}"
    );
}

#[test]
fn an_order_is_paid_by_its_own_method_if_none_is_named_and_may_be_declined_again() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::ChargeDeclined, declined());
    let processed = pay(&store, &ledger, order, None).unwrap();
    assert!(matches!(processed, Processed::Started(_)));
    assert_eq!(status(&processed), PaymentStatus::Failed);
    assert_eq!(store.told(), ["PaymentFailed"]);
}

#[test]
fn a_paid_order_is_not_charged_again() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let succeeded = Verdict::Succeeded("t-1".to_owned().into());
    let (order, _) = store.with_order(PaymentMethod::Visa, Some(succeeded));
    let processed = pay(&store, &ledger, order, None).unwrap();
    assert!(matches!(processed, Processed::Found(_)));
    assert_eq!(status(&processed), PaymentStatus::Completed);
    assert_eq!(ledger.charge_calls.get(), 0);
}

#[test]
fn a_slow_charge_is_processing_and_whoever_asks_next_finds_out_what_became_of_it() {
    for reads in [true, false] {
        let (store, ledger) = (Store::default(), Ledger::default());
        let (order, _) = store.with_order(PaymentMethod::Slow, declined());
        let processed = pay(&store, &ledger, order, None).unwrap();
        assert!(matches!(processed, Processed::Started(_)));
        assert_eq!(status(&processed), PaymentStatus::Processing);
        if reads {
            block_on(catch_up(&store, &ledger, order, &Traceparent::random())).unwrap();
        } else {
            let processed = pay(&store, &ledger, order, None).unwrap();
            assert!(matches!(processed, Processed::Found(_)));
            assert_eq!(status(&processed), PaymentStatus::Completed);
        }
        assert_eq!(store.status(order), PaymentStatus::Completed);
        assert_eq!(ledger.charge_calls.get(), 1);
        assert_eq!(store.told(), ["PaymentCompleted"]);
    }
}

#[test]
fn a_reader_charges_nothing() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, None);
    block_on(catch_up(&store, &ledger, order, &Traceparent::random())).unwrap();
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert_eq!(ledger.len(), 0);
}

#[test]
fn an_attempt_that_never_reached_the_provider_is_charged_under_its_own_key() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, None);
    let processed = pay(&store, &ledger, order, None).unwrap();
    assert!(matches!(processed, Processed::Found(_)));
    assert_eq!(status(&processed), PaymentStatus::Completed);
    assert_eq!(store.payment(order).attempt().number, 1);
    assert_eq!(ledger.len(), 1);
}

#[test]
fn a_provider_that_is_down_leaves_the_payment_processing() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, declined());
    ledger.is_down.set(true);
    let processed = pay(&store, &ledger, order, None).unwrap();
    assert!(matches!(processed, Processed::Started(_)));
    assert_eq!(status(&processed), PaymentStatus::Processing);
    ledger.is_down.set(false);
    let processed = pay(&store, &ledger, order, None).unwrap();
    assert_eq!(status(&processed), PaymentStatus::Completed);
    assert_eq!(ledger.len(), 1);
}

#[test]
fn an_order_that_is_cancelled_is_not_paid() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, declined());
    store
        .orders
        .borrow_mut()
        .get_mut(&order)
        .unwrap()
        .cancel(Timestamp::now());
    let refused = pay(&store, &ledger, order, None).unwrap_err();
    assert!(matches!(refused, ProcessPaymentError::Cancelled(_)));
    assert_eq!(ledger.charge_calls.get(), 0);
}

#[test]
fn an_order_that_is_cancelled_while_it_is_charged_is_left_to_its_cancellation() {
    let store = Store::default().fails_to_store([Fault::None, Fault::Cancelled]);
    let ledger = Ledger::default();
    let (order, _) = store.with_order(PaymentMethod::Visa, declined());
    let refused = pay(&store, &ledger, order, None).unwrap_err();
    assert!(matches!(refused, ProcessPaymentError::Cancelled(_)));
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert!(store.told().is_empty());
}

#[test]
fn an_attempt_that_came_too_late_is_decided_again_and_made_once() {
    for fault in [Fault::Raced, Fault::Contention] {
        let (store, ledger) = (Store::default().fails_to_store([fault]), Ledger::default());
        let (order, _) = store.with_order(PaymentMethod::Visa, declined());
        assert!(pay(&store, &ledger, order, None).is_ok());
        assert_eq!(store.orders.borrow()[&order].payments().len(), 2);
        assert_eq!(ledger.charge_calls.get(), 1);
    }
}

#[test]
fn an_order_that_is_unknown_or_someone_elses_is_not_paid() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let refused = pay(&store, &ledger, OrderId::new(), None).unwrap_err();
    assert!(matches!(refused, ProcessPaymentError::UnknownOrder));

    let (order_id, owner) = store.with_order(PaymentMethod::Visa, declined());
    for (user, is_theirs) in [(UserId::new(), false), (owner, true)] {
        let command = ProcessPayment {
            order_id,
            method: None,
            owner: Some(user),
            trace: Traceparent::random(),
        };
        let answer = block_on(process_payment(&store, &ledger, command));
        assert_eq!(answer.is_ok(), is_theirs);
    }
}
