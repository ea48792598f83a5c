//! Paying an order on request, between a store and a provider in memory.

use super::*;
use crate::application::handle_events;
use crate::application::in_memory::{Fault, Ledger, Store};
use crate::domain::{FailureReason, PaymentStatus, Verdict as Charged};
use contracts::{EventId, Received};
use event_batch::Outcome;
use futures::executor::block_on;
use futures::future::LocalBoxFuture;
use futures::task::noop_waker;
use http::StatusCode;
use proptest::prelude::*;
use service::Response;
use service::idempotency::{Done, REPLAYED_HEADER, once};
use std::task::Context;

fn declined() -> Option<Charged> {
    Some(Charged::Declined)
}

fn pay(
    store: &Store,
    ledger: &Ledger,
    order_id: OrderId,
    method: Option<PaymentMethod>,
) -> Result<Processed, ProcessPaymentError> {
    let command = wish(order_id, method);
    block_on(process_payment(store, ledger, command, kept))
}

fn wish(order_id: OrderId, method: Option<PaymentMethod>) -> ProcessPayment {
    ProcessPayment {
        order_id,
        method,
        owner: None,
        key: None,
        trace: Traceparent::random(),
    }
}

/// The answer to a request that started this payment.
fn created(payment: &Payment) -> Response {
    let body = (payment.attempt().payment_id, payment.state().status().as_str());
    Response::json(StatusCode::CREATED, &body)
}

fn kept(payment: &Payment) -> KeptAnswer {
    KeptAnswer::of(&created(payment))
}

/// The timers come home, and the outcomes of that.
fn look_up(store: &Store, ledger: &Ledger) -> Vec<Outcome> {
    let timers = store.timers.borrow().clone();
    let come_home = |timer: Outgoing| Received {
        id: EventId::new(),
        traceparent: None,
        occurred_at: None,
        event: timer.event,
    };
    let batch = timers.into_iter().map(come_home).collect();
    let handled = block_on(handle_events(store, ledger, batch)).unwrap();
    handled.into_iter().map(|handled| handled.outcome).collect()
}

fn status(processed: &Processed) -> PaymentStatus {
    match processed {
        Processed::Started(payment) | Processed::Found(payment) => payment.state().status(),
        Processed::Known(known) => panic!("{known:?}"),
    }
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
    let succeeded = Charged::Succeeded("t-1".to_owned().into());
    let (order, _) = store.with_order(PaymentMethod::Visa, Some(succeeded));
    let processed = pay(&store, &ledger, order, None).unwrap();
    assert!(matches!(processed, Processed::Found(_)));
    assert_eq!(status(&processed), PaymentStatus::Completed);
    assert_eq!(ledger.charge_calls.get(), 0);
}

#[test]
fn a_slow_charge_is_processing_and_its_timer_or_whoever_asks_next_finds_out_what_became_of_it() {
    for waits in [true, false] {
        let (store, ledger) = (Store::default(), Ledger::default());
        let (order, _) = store.with_order(PaymentMethod::Slow, declined());
        let processed = pay(&store, &ledger, order, None).unwrap();
        assert!(matches!(processed, Processed::Started(_)));
        assert_eq!(status(&processed), PaymentStatus::Processing);
        if waits {
            assert_eq!(look_up(&store, &ledger), [Outcome::Processed]);
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
    assert!(matches!(
        refused,
        ProcessPaymentError::NotPayable(NotPayable::Cancelled)
    ));
    assert_eq!(ledger.charge_calls.get(), 0);
}

#[test]
fn an_order_that_is_cancelled_while_it_is_charged_is_left_to_its_cancellation() {
    let store = Store::default().fails_to_store([Fault::None, Fault::Cancelled]);
    let ledger = Ledger::default();
    let (order, _) = store.with_order(PaymentMethod::Visa, declined());
    let processed = pay(&store, &ledger, order, None).unwrap();
    assert!(matches!(processed, Processed::Started(_)));
    assert_eq!(status(&processed), PaymentStatus::Processing);
    assert!(store.told().is_empty());
    let refused = pay(&store, &ledger, order, None).unwrap_err();
    assert!(matches!(
        refused,
        ProcessPaymentError::NotPayable(NotPayable::Cancelled)
    ));
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
            key: None,
            trace: Traceparent::random(),
        };
        let answer = block_on(process_payment(&store, &ledger, command, kept));
        assert_eq!(answer.is_ok(), is_theirs);
    }
}

#[test]
fn an_attempt_is_stored_with_a_timer_that_comes_after_all_that_its_request_does() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, declined());
    let before = Timestamp::now();
    pay(&store, &ledger, order, None).unwrap();
    let timers = store.timers.borrow().clone();
    let [timer] = timers.as_slice() else {
        panic!("{timers:?}")
    };
    let due = ChargeLookUpDue {
        order_id: order,
        payment_id: store.payment(order).attempt().payment_id,
    };
    assert_eq!(timer.event, due.into());
    assert!(timer.due_at.unwrap() >= before.plus(Duration::from_secs(3)));
}

#[test]
fn a_timer_waits_for_the_provider_and_then_settles_the_payment() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Flaky, declined());
    pay(&store, &ledger, order, None).unwrap();
    ledger.is_down.set(true);
    assert_eq!(look_up(&store, &ledger), [Outcome::Retry]);
    assert!(store.inbox.borrow().is_empty());
    ledger.is_down.set(false);
    assert_eq!(look_up(&store, &ledger), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Completed);
    assert_eq!(store.told(), ["PaymentCompleted"]);
    assert_eq!(ledger.charge_calls.get(), 1);
}

#[test]
fn a_timer_whose_payment_has_ended_asks_nobody_and_leaves_a_later_attempt_alone() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::ChargeDeclined, declined());
    pay(&store, &ledger, order, None).unwrap();
    let first = store.timers.borrow().clone();
    assert_eq!(look_up(&store, &ledger), [Outcome::Processed]);
    assert_eq!((ledger.look_ups.get(), store.told().len()), (0, 1));

    pay(&store, &ledger, order, Some(PaymentMethod::Slow)).unwrap();
    let looks = ledger.look_ups.get();
    *store.timers.borrow_mut() = first;
    assert_eq!(look_up(&store, &ledger), [Outcome::Processed]);
    assert_eq!(store.status(order), PaymentStatus::Processing);
    assert_eq!(ledger.look_ups.get(), looks);
}

#[test]
fn a_timer_charges_what_never_reached_the_provider_before_the_deadline_only() {
    for is_overdue in [false, true] {
        // The attempt is stored, and the request hears nothing of it.
        let store = Store::default().fails_to_store([Fault::Unknown]);
        let ledger = Ledger::default();
        let (order, _) = store.with_order(PaymentMethod::Visa, declined());
        assert!(pay(&store, &ledger, order, None).is_err());
        assert_eq!(ledger.len(), 0);
        if is_overdue {
            store.pass_deadline(order);
        }
        assert_eq!(look_up(&store, &ledger), [Outcome::Processed]);
        let reason = store.payment(order).state().failure_reason();
        if is_overdue {
            assert_eq!(reason, Some(FailureReason::PaymentDeadline));
            assert_eq!((ledger.charge_calls.get(), store.told().len()), (0, 0));
        } else {
            assert_eq!(reason, None);
            assert_eq!(store.told(), ["PaymentCompleted"]);
        }
    }
}

#[test]
fn no_attempt_starts_after_the_deadline_and_a_paid_order_is_found_all_the_same() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, declined());
    store.pass_deadline(order);
    let refused = pay(&store, &ledger, order, None).unwrap_err();
    assert!(matches!(
        refused,
        ProcessPaymentError::NotPayable(NotPayable::Overdue)
    ));
    assert_eq!((ledger.charge_calls.get(), store.timers.borrow().len()), (0, 0));

    let succeeded = Charged::Succeeded("t-1".to_owned().into());
    let (order, _) = store.with_order(PaymentMethod::Visa, Some(succeeded));
    store.pass_deadline(order);
    let processed = pay(&store, &ledger, order, None).unwrap();
    assert_eq!(status(&processed), PaymentStatus::Completed);
}

#[test]
fn an_attempt_that_is_found_uncharged_after_the_deadline_is_withdrawn_and_the_client_told_why() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, None);
    store.pass_deadline(order);
    let refused = pay(&store, &ledger, order, None).unwrap_err();
    assert!(matches!(
        refused,
        ProcessPaymentError::NotPayable(NotPayable::Overdue)
    ));
    let reason = store.payment(order).state().failure_reason();
    assert_eq!(reason, Some(FailureReason::PaymentDeadline));
    assert_eq!(ledger.charge_calls.get(), 0);
}

fn key() -> IdempotencyKey {
    let scope = "POST /payments/process".to_owned();
    IdempotencyKey::new(UserId::new(), scope, "k".to_owned(), b"{}")
}

/// One request under the key, as its handler answers it.
async fn request(store: &Store, ledger: &Ledger, order_id: OrderId, key: &IdempotencyKey) -> Response {
    let work = async {
        let command = ProcessPayment {
            key: Some(key.clone()),
            ..wish(order_id, None)
        };
        match process_payment(store, ledger, command, kept).await {
            Ok(Processed::Started(payment)) => Ok(Done::Kept(created(&payment))),
            Ok(Processed::Found(payment)) => {
                let body = payment.attempt().payment_id;
                Ok(Done::Unchanged(Response::json(StatusCode::OK, &body)))
            }
            Ok(Processed::Known(known)) => Ok(Done::Known(known)),
            Err(ProcessPaymentError::Store(error)) => Err(error.into()),
            Err(error) => Err(service::Problem::conflict("not-payable", error.to_string())),
        }
    };
    let answer = once(store, Some(key), "/payments/process", work).await;
    answer.unwrap_or_else(|problem| problem.into_response("/payments/process"))
}

fn is_replayed(response: &Response) -> bool {
    response.headers().contains_key(REPLAYED_HEADER)
}

#[test]
fn a_keyed_request_that_is_sent_again_is_answered_the_same_whatever_came_of_its_payment() {
    for method in PaymentMethod::ALL {
        let (store, ledger) = (Store::default(), Ledger::default());
        let (order, _) = store.with_order(method, declined());
        let key = key();
        let first = block_on(request(&store, &ledger, order, &key));
        assert_eq!(
            (first.status(), is_replayed(&first)),
            (StatusCode::CREATED, false)
        );
        for is_looked_up in [false, true] {
            if is_looked_up {
                look_up(&store, &ledger);
            }
            let again = block_on(request(&store, &ledger, order, &key));
            assert_eq!((again.status(), again.body()), (first.status(), first.body()));
            assert!(is_replayed(&again));
        }
        assert_eq!(store.orders.borrow()[&order].payments().len(), 2);
        assert_eq!(ledger.charge_calls.get(), 1);
    }
}

#[test]
fn a_refusal_is_kept_under_its_key_and_so_is_what_was_found() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (refused, found) = (key(), key());
    let (order, _) = store.with_order(PaymentMethod::Visa, declined());
    store.pass_deadline(order);
    let succeeded = Charged::Succeeded("t-1".to_owned().into());
    let (paid, _) = store.with_order(PaymentMethod::Visa, Some(succeeded));
    for (order, key, status) in [
        (order, refused, StatusCode::CONFLICT),
        (paid, found, StatusCode::OK),
    ] {
        let first = block_on(request(&store, &ledger, order, &key));
        let again = block_on(request(&store, &ledger, order, &key));
        assert_eq!(first.status(), status);
        assert_eq!((again.status(), again.body()), (status, first.body()));
        assert!(is_replayed(&again));
    }
}

#[test]
fn a_request_whose_first_may_live_is_told_to_come_again_and_takes_over_when_it_cannot() {
    for is_settled in [false, true] {
        // The attempt is stored, and the request dies.
        let store = Store::default().fails_to_store([Fault::Unknown]);
        let ledger = Ledger::default();
        let (order, _) = store.with_order(PaymentMethod::Visa, declined());
        let key = key();
        let died = block_on(request(&store, &ledger, order, &key));
        assert_eq!(died.status(), StatusCode::SERVICE_UNAVAILABLE);
        let early = block_on(request(&store, &ledger, order, &key));
        assert_eq!(early.status(), StatusCode::CONFLICT);
        assert!(early.headers().contains_key(http::header::RETRY_AFTER));

        let expected = if is_settled {
            look_up(&store, &ledger);
            PaymentStatus::Completed
        } else {
            store.age.set(router::DEADLINE + Duration::from_millis(1));
            PaymentStatus::Processing
        };
        let calls = ledger.charge_calls.get() + ledger.look_ups.get();
        let took_over = block_on(request(&store, &ledger, order, &key));
        assert_eq!(took_over.status(), StatusCode::CREATED);
        let payment = store.payment(order);
        assert_eq!(payment.state().status(), expected);
        assert_eq!(took_over.body(), created(&payment).body());
        assert_eq!(
            ledger.charge_calls.get() + ledger.look_ups.get(),
            calls,
            "it asks nobody"
        );
        look_up(&store, &ledger);
        let again = block_on(request(&store, &ledger, order, &key));
        assert_eq!(
            (again.status(), again.body()),
            (took_over.status(), took_over.body())
        );
        assert_eq!(ledger.len(), 1);
    }
}

#[test]
fn another_key_finds_the_payment_that_stands() {
    let (store, ledger) = (Store::default(), Ledger::default());
    let (order, _) = store.with_order(PaymentMethod::Visa, declined());
    block_on(request(&store, &ledger, order, &key()));
    let other = block_on(request(&store, &ledger, order, &key()));
    assert_eq!(other.status(), StatusCode::OK);
    assert_eq!(ledger.len(), 1);
}

proptest! {
    /// Requests under one key, and the timer, in any order of their steps, any of them dead after any step: there is
    /// one attempt, it is charged once, and whoever is answered at all is answered the same.
    #[test]
    fn requests_under_one_key_charge_once_and_are_answered_the_same(
        method in prop::sample::select(PaymentMethod::ALL.as_slice()),
        steps in prop::collection::vec(0..4_usize, 0..120),
        deaths in prop::collection::vec(prop::option::of(0..40_usize), 4),
        is_abandoned in any::<bool>(),
    ) {
        let (store, ledger) = (Store::default(), Ledger::default());
        let (order, _) = store.with_order(method, declined());
        let key = key();
        if is_abandoned {
            // Each thinks that the others are too old to live.
            store.age.set(router::DEADLINE * 2);
        }
        let mut given = Vec::new();
        let timer = async {
            // It comes home once it was set.
            let timer = loop {
                if let Some(timer) = store.timers.borrow().first().cloned() {
                    break timer;
                }
                futures::pending!();
            };
            let received = Received {
                id: EventId::new(),
                traceparent: None,
                occurred_at: None,
                event: timer.event,
            };
            let _ = handle_events(&store, &ledger, vec![received]).await;
            None
        };
        let mut running: Vec<Option<LocalBoxFuture<'_, Option<Response>>>> = vec![Some(Box::pin(timer))];
        for _ in 1..4 {
            running.push(Some(Box::pin(async { Some(request(&store, &ledger, order, &key).await) })));
        }
        let waker = noop_waker();
        let mut taken = [0_usize; 4];
        for step in steps.into_iter().chain((0..400).map(|step| step % 4)) {
            if deaths[step].is_some_and(|death| taken[step] > death) {
                running[step] = None;
            }
            taken[step] += 1;
            let Some(future) = &mut running[step] else { continue };
            if let std::task::Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                given.extend(answer);
                running[step] = None;
            }
        }
        drop(running);
        for _ in 0..3 {
            look_up(&store, &ledger);
        }
        given.push(block_on(request(&store, &ledger, order, &key)));

        prop_assert_eq!(store.orders.borrow()[&order].payments().len(), 2);
        prop_assert_eq!(ledger.len(), 1);
        prop_assert!(given.iter().all(|answer| answer.status() != StatusCode::OK));
        let mut answers = given.iter().filter(|answer| answer.status() == StatusCode::CREATED);
        let first = answers.next().map(Response::body);
        prop_assert!(first.is_some());
        prop_assert!(answers.all(|answer| Some(answer.body()) == first));
        // The last one may be the first that lives.
        look_up(&store, &ledger);
        look_up(&store, &ledger);
        prop_assert!(store.status(order) != PaymentStatus::Processing);
        prop_assert_eq!(store.told().len(), 1);
    }
}
