//! Rules broken on purpose, one at a time: within so many stories the model has to find each, and to say what is wrong.

use shop_model::{Invariant, Mutation, explain, search};

/// Within how many stories a rule that is broken has to be found.
const SEEDS: u64 = 20_000;

/// What the first story that fails finds broken. Its smallest form is shown where `SHOP_MODEL_STORIES` is set.
fn found(mutation: Mutation) -> Option<Invariant> {
    let summary = search(0..SEEDS, Some(mutation));
    let failure = summary.failure?;
    let found = failure.violation.invariant;
    println!("{mutation:?}: {found}: found after {} stories", summary.stories);
    if std::env::var_os("SHOP_MODEL_STORIES").is_some() {
        println!("{}", explain(failure, Some(mutation)).report);
    }
    Some(found)
}

#[test]
fn an_inbox_that_forgets_is_found() {
    assert_eq!(found(Mutation::ForgetTheInbox), Some(Invariant::OneEffect));
}

#[test]
fn an_inbox_row_without_its_effect_is_found() {
    assert_eq!(
        found(Mutation::InboxBesideTheGate),
        Some(Invariant::HandledHadItsEffect)
    );
}

#[test]
fn a_refund_that_is_made_twice_is_found() {
    assert_eq!(
        found(Mutation::RefundTwice),
        Some(Invariant::RefundedAtMostWhatWasTaken)
    );
}

#[test]
fn a_late_payment_that_is_not_refunded_is_found() {
    assert_eq!(
        found(Mutation::DropTheLatePayment),
        Some(Invariant::MoneyBalances)
    );
}

#[test]
fn a_timer_that_holds_its_order_back_is_found() {
    assert_eq!(
        found(Mutation::TimersInTheAggregatesKey),
        Some(Invariant::NothingWaitsForATimer)
    );
}

#[test]
fn a_return_that_is_paired_with_the_wrong_confirm_is_found() {
    assert_eq!(
        found(Mutation::ReturnWithTheWrongConfirm),
        Some(Invariant::MarkedIsPublished)
    );
}

#[test]
fn a_row_that_is_marked_before_its_confirm_is_found() {
    assert_eq!(
        found(Mutation::MarkBeforeTheConfirm),
        Some(Invariant::MarkedIsPublished)
    );
}

#[test]
fn rows_that_are_skipped_by_their_ids_are_found() {
    assert_eq!(
        found(Mutation::SkipToTheLast),
        Some(Invariant::EverythingIsPublished)
    );
}

#[test]
fn a_message_that_is_acknowledged_though_its_handler_failed_is_found() {
    assert_eq!(
        found(Mutation::AcknowledgeTheFailed),
        Some(Invariant::AcknowledgedIsHandled)
    );
}

#[test]
fn stock_that_is_put_back_twice_is_found() {
    assert_eq!(
        found(Mutation::PutBackBesideTheGate),
        Some(Invariant::StockBalances)
    );
}

#[test]
fn a_cancellation_without_a_tombstone_is_found() {
    assert_eq!(found(Mutation::NoTombstone), Some(Invariant::StockBalances));
}

#[test]
fn two_rows_of_a_key_in_one_window_are_found() {
    assert_eq!(found(Mutation::TwoRowsOfAKey), Some(Invariant::FirstsInOrder));
}

#[test]
fn a_charge_that_is_made_again_instead_of_being_looked_up_is_found() {
    assert_eq!(
        found(Mutation::ChargeInsteadOfLookingUp),
        Some(Invariant::ChargedOnce)
    );
}

#[test]
fn a_key_that_is_not_recognised_is_found() {
    assert_eq!(found(Mutation::ForgetTheKey), Some(Invariant::OneAnswerPerKey));
}

#[test]
fn a_deadline_that_payment_forgets_is_found() {
    assert_eq!(
        found(Mutation::ForgetTheDeadline),
        Some(Invariant::NoChargeAfterTheDeadline)
    );
}

#[test]
fn a_gate_without_the_version_is_found() {
    assert_eq!(
        found(Mutation::GateWithoutTheVersion),
        Some(Invariant::FinalIsFinal)
    );
}
