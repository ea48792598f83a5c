//! What the provider is asked for, in an order's name (R8). Nothing here is stored: a crash, or a provider that is
//! silent, leaves the order as it was stored, and its errands are found again. What may have been asked for before is
//! looked up.

use super::ports::{LookedUp, NoAnswer, Provider};
use crate::domain::{Charge, Errand, Order, Refund, Verdict};
use contracts::{Event, Timestamp};

/// Runs the errands of an order until it is at rest, and gives the events that tell what came of them. `is_new` says
/// that whoever runs them has stored the attempt just now: then it was hardly asked for before. `clock` says what time
/// it is.
///
/// # Errors
/// Why the order is not at rest yet.
pub(super) async fn run(
    provider: &impl Provider,
    order: &mut Order,
    is_new: bool,
    clock: impl Fn() -> Timestamp,
) -> Result<Vec<Event>, &'static str> {
    let mut told = Vec::new();
    while let Some(errand) = order.errand() {
        let event = match errand {
            Errand::Charge(charge) => {
                let found = if is_new {
                    None
                } else {
                    find_out(provider, &charge).await?
                };
                let verdict = match found {
                    Some(verdict) => verdict,
                    None => conclude(provider, &charge, order.is_payable(clock())).await?,
                };
                order.settle(verdict, clock())
            }
            Errand::Refund(refund) => {
                give_back(provider, &refund).await?;
                order.refund(clock())
            }
        };
        told.extend(event);
    }
    Ok(told)
}

/// What became of a charge that somebody may have asked for before; `None` if the provider has not heard of it.
async fn find_out(provider: &impl Provider, charge: &Charge) -> Result<Option<Verdict>, &'static str> {
    match provider.look_up(&charge.key).await.map_err(no_answer)? {
        LookedUp::Settled(verdict) => Ok(Some(verdict)),
        LookedUp::Pending => Err("the provider has not decided yet"),
        LookedUp::Unknown => Ok(None),
    }
}

/// Ends an attempt that the provider has not heard of. Whoever stored it ended before the provider heard, or is on the
/// way there this very moment. So it is charged under the same key, of which the provider makes one charge; or that key
/// is closed, for only what the provider has closed is never charged.
async fn conclude(
    provider: &impl Provider,
    charge: &Charge,
    is_payable: bool,
) -> Result<Verdict, &'static str> {
    let verdict = if is_payable {
        provider.charge(charge).await
    } else {
        provider.withdraw(charge).await
    };
    verdict.map_err(no_answer)
}

async fn give_back(provider: &impl Provider, refund: &Refund) -> Result<(), &'static str> {
    if provider.is_refunded(&refund.key).await.map_err(no_answer)? {
        return Ok(());
    }
    provider.refund(refund).await.map_err(no_answer)
}

fn no_answer(_: NoAnswer) -> &'static str {
    "the provider does not answer"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::in_memory::Ledger;
    use crate::domain::{FailureReason, PaymentStatus, PlacedOrder};
    use contracts::{Money, OrderId, PaymentId, PaymentMethod, UserId};
    use futures::executor::block_on;
    use std::cell::Cell;
    use std::time::Duration;

    /// An order whose deadline is `due_at`, and its first attempt, stored just before it.
    fn order(method: PaymentMethod, due_at: Timestamp) -> Order {
        let placed = PlacedOrder {
            user_id: UserId::new(),
            amount: Money::rub(15_000).unwrap(),
            method,
            payment_due_at: Some(due_at),
        };
        Order::open(OrderId::new(), placed, PaymentId::new(), due_at)
    }

    fn status(order: &Order) -> (PaymentStatus, Option<FailureReason>) {
        let state = order.payments()[0].state();
        (state.status(), state.failure_reason())
    }

    #[test]
    fn a_deadline_that_passes_between_the_storing_and_the_charging_withdraws_the_attempt() {
        let due_at = Timestamp::now();
        let late = due_at.plus(Duration::from_secs(1));
        for is_new in [true, false] {
            let (mut order, ledger) = (order(PaymentMethod::Visa, due_at), Ledger::default());
            let told = block_on(run(&ledger, &mut order, is_new, || late)).unwrap();
            assert_eq!(told, []);
            let withdrawn = (PaymentStatus::Failed, Some(FailureReason::PaymentDeadline));
            assert_eq!(status(&order), withdrawn);
            assert_eq!(ledger.charge_calls.get(), 0);
            // Whoever stored it comes to the provider late.
            let attempt = order.payments()[0].attempt();
            let late = block_on(ledger.charge(&Charge::of(attempt)));
            assert_eq!(late, Ok(Verdict::Withdrawn));
        }
    }

    #[test]
    fn the_clock_is_asked_after_the_look_up_which_may_take_its_time() {
        let due_at = Timestamp::now();
        let (mut order, ledger) = (order(PaymentMethod::Visa, due_at), Ledger::default());
        let asked_after = Cell::new(None);
        let clock = || {
            if asked_after.get().is_none() {
                asked_after.set(Some(ledger.look_ups.get()));
            }
            due_at
        };
        block_on(run(&ledger, &mut order, false, clock)).unwrap();
        assert_eq!(status(&order), (PaymentStatus::Completed, None));
        assert_eq!(asked_after.get(), Some(1));
    }

    #[test]
    fn a_charge_that_was_made_before_the_deadline_stands_however_late_it_is_found() {
        let due_at = Timestamp::now();
        let late = due_at.plus(Duration::from_secs(3600));
        let (mut order, ledger) = (order(PaymentMethod::Flaky, due_at), Ledger::default());
        assert!(block_on(run(&ledger, &mut order, true, || due_at)).is_err());
        // The provider has not decided yet when it is looked up first.
        assert!(block_on(run(&ledger, &mut order, false, || late)).is_err());
        let told = block_on(run(&ledger, &mut order, false, || late)).unwrap();
        assert!(
            matches!(told.as_slice(), [Event::PaymentCompleted(_)]),
            "{told:?}"
        );
        assert_eq!(ledger.charge_calls.get(), 1);
    }
}
