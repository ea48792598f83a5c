//! The payment provider: a ledger of its own, which is what the money is judged by. Its cards behave as those of
//! `simulated_provider` do; and it is as slow, and as silent, as the dice have it.

use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::world::{Answer, Lost, MILLI, Micros, Process, SECOND, Service, Step, World};
use contracts::{OrderId, PaymentMethod};
use ordering::domain::OrderStatus;
use payment::application::LookedUp;
use payment::domain::{Charge, ChargeKey, Refund, RefundKey, Verdict};

const ASKER: Process = Process::Component(Service::Payment);

/// No answer: what was asked for may have happened.
pub(crate) struct Silent;

impl Lost for Silent {
    fn lost() -> Self {
        Self
    }
}

/// A charge that was made, declined or closed.
#[derive(Debug)]
struct Charged {
    key: ChargeKey,
    order_id: Option<OrderId>,
    amount: i64,
    verdict: Verdict,
    settles_at: Micros,
    refunded: i64,
    /// Whether its order was cancelled already when it was made.
    is_late: bool,
}

impl Charged {
    fn taken(&self) -> i64 {
        match self.verdict {
            Verdict::Succeeded(_) => self.amount,
            Verdict::Declined | Verdict::Withdrawn => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    charges: Vec<Charged>,
    refunds: Vec<RefundKey>,
}

impl Ledger {
    fn charged(&self, key: &ChargeKey) -> Option<&Charged> {
        self.charges.iter().find(|charged| charged.key == *key)
    }

    /// What was taken for an order and not given back.
    pub(crate) fn kept(&self, order_id: OrderId) -> i64 {
        let of_it = self
            .charges
            .iter()
            .filter(|charged| charged.order_id == Some(order_id));
        of_it.map(|charged| charged.taken() - charged.refunded).sum()
    }

    /// Records a charge under its key, unless there is one. Gives whether it did.
    fn record(&mut self, world: &World, charge: &Charge, verdict: Verdict, settles_at: Micros) -> bool {
        let knows = self.charged(&charge.key).is_some();
        if knows && !world.breaks(Mutation::ChargeInsteadOfLookingUp) {
            return false;
        }
        let database = world.payment.borrow();
        let attempt = database.attempt(&charge.key);
        let order_id = attempt.map(|(order, _)| order.id());
        let ordering = world.ordering.borrow();
        let is_late = order_id
            .and_then(|id| ordering.order(id))
            .is_some_and(|order| order.status == OrderStatus::Cancelled);
        let amount = charge.amount.minor();
        let what = match verdict {
            Verdict::Succeeded(_) => "takes",
            Verdict::Declined => "declines",
            Verdict::Withdrawn => "closes the key of",
        };
        world.tell(Process::Nature, |world| {
            let order = order_id.map(|id| world.name("order", id.as_uuid()));
            format!("the provider {what} {amount} for {}", order.unwrap_or_default())
        });
        self.charges.push(Charged {
            key: charge.key.clone(),
            order_id,
            amount,
            verdict,
            settles_at,
            refunded: 0,
            is_late,
        });
        if let Some(id) = order_id {
            let total = attempt
                .and_then(|(order, _)| order.placed())
                .map(|placed| placed.amount.minor());
            if total.is_some_and(|total| self.kept(id) > total) {
                world.violate(Invariant::ChargedOnce, |world| {
                    format!("{} is charged again", world.name("order", id.as_uuid()))
                });
            }
        }
        true
    }
}

/// How a card behaves: verdict, until when it is undecided, and whether the first call is answered.
fn terms(world: &World, charge: &Charge) -> (Verdict, Micros, bool) {
    let succeeded = || Verdict::Succeeded(format!("txn of {}", charge.key.as_str()).into());
    match charge.method {
        PaymentMethod::Visa => (succeeded(), 0, true),
        PaymentMethod::ChargeDeclined => (Verdict::Declined, 0, true),
        PaymentMethod::Slow => (succeeded(), world.now() + 2 * SECOND, true),
        PaymentMethod::Flaky => (succeeded(), 0, false),
    }
}

/// What becomes of a charge that is known: its verdict, once it has settled.
fn settled<T>(world: &World, charged: &Charged, of: impl Fn(Verdict) -> T) -> Step<Result<T, Silent>> {
    if charged.settles_at > world.now() {
        return Step::Later;
    }
    Step::Done(Ok(of(charged.verdict.clone())))
}

pub(crate) fn charge(world: &World, charge: Charge) -> Answer<Result<Verdict, Silent>> {
    let mut is_recorded = false;
    world.ask(ASKER, move |world| {
        let ledger = &mut *world.provider.borrow_mut();
        if !is_recorded {
            let (verdict, settles_at, answers) = terms(world, &charge);
            let is_first = ledger.record(world, &charge, verdict, settles_at);
            is_recorded = true;
            if is_first && !answers {
                return Step::Done(Err(Silent));
            }
        }
        match ledger.charged(&charge.key) {
            Some(charged) if charged.settles_at > world.now() + 10 * MILLI => Step::Done(Err(Silent)),
            Some(charged) => settled(world, charged, |verdict| verdict),
            None => Step::Done(Err(Silent)),
        }
    })
}

pub(crate) fn look_up(world: &World, key: ChargeKey) -> Answer<Result<LookedUp, Silent>> {
    world.ask(ASKER, move |world| {
        let ledger = world.provider.borrow();
        Step::Done(Ok(match ledger.charged(&key) {
            None => LookedUp::Unknown,
            Some(charged) if charged.settles_at > world.now() => LookedUp::Pending,
            Some(charged) => LookedUp::Settled(charged.verdict.clone()),
        }))
    })
}

pub(crate) fn withdraw(world: &World, charge: Charge) -> Answer<Result<Verdict, Silent>> {
    world.ask(ASKER, move |world| {
        let ledger = &mut *world.provider.borrow_mut();
        if ledger.charged(&charge.key).is_none() {
            ledger.record(world, &charge, Verdict::Withdrawn, 0);
        }
        Step::Done(match ledger.charged(&charge.key) {
            Some(charged) if charged.settles_at <= world.now() => Ok(charged.verdict.clone()),
            _ => Err(Silent),
        })
    })
}

pub(crate) fn refund(world: &World, refund: Refund) -> Answer<Result<(), Silent>> {
    world.ask(ASKER, move |world| {
        let ledger = &mut *world.provider.borrow_mut();
        if ledger.refunds.contains(&refund.key) && !world.breaks(Mutation::RefundTwice) {
            return Step::Done(Ok(()));
        }
        let charged = ledger
            .charges
            .iter_mut()
            .find(|charged| charged.key == refund.charge);
        let Some(charged) = charged else {
            return Step::Done(Err(Silent));
        };
        if charged.taken() == 0 || charged.settles_at > world.now() {
            return Step::Done(Err(Silent));
        }
        if charged.is_late && world.breaks(Mutation::DropTheLatePayment) {
            return Step::Done(Ok(()));
        }
        let amount = refund.amount.minor();
        charged.refunded += amount;
        let order_id = charged.order_id;
        world.tell(Process::Nature, |world| {
            let order = order_id.map(|id| world.name("order", id.as_uuid()));
            format!(
                "the provider gives back {amount} for {}",
                order.unwrap_or_default()
            )
        });
        if charged.refunded > charged.taken() {
            world.violate(Invariant::RefundedAtMostWhatWasTaken, |world| {
                let order = order_id.map(|id| world.name("order", id.as_uuid()));
                format!("{} is given back more than was taken", order.unwrap_or_default())
            });
        }
        ledger.refunds.push(refund.key.clone());
        Step::Done(Ok(()))
    })
}

pub(crate) fn is_refunded(world: &World, key: RefundKey) -> Answer<Result<bool, Silent>> {
    world.ask(ASKER, move |world| {
        if world.breaks(Mutation::RefundTwice) {
            return Step::Done(Ok(false));
        }
        Step::Done(Ok(world.provider.borrow().refunds.contains(&key)))
    })
}
