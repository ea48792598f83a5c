//! Whether a request is let through: by the limits that apply to it and by the breaker of the service that it is for.

use super::breakers::{Breakers, SharedBreakers};
use crate::domain::{Breaker, Draw, Moment, Outcome, Service, Standing, Tally, TooSoon, Word};
use std::time::{Duration, SystemTime};

/// What all instances share.
pub trait Shared: SharedBreakers {
    /// Draws what `draws` say, and looks up the breaker of `service`, if there is one named, in one exchange.
    ///
    /// MUST come back soon. `None` if nobody answers: then nothing is limited.
    async fn consult(&self, draws: &[Draw], service: Option<Service>) -> Option<Consulted>;
}

/// What an exchange gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consulted {
    /// Of each bucket of each draw, in their order.
    pub standings: Vec<Standing>,
    /// Of the service that was named.
    pub breaker: Option<Breaker>,
}

/// Where a request goes.
pub struct Way {
    pub service: Service,
    /// How long the service may take to answer.
    pub patience: Duration,
}

/// The right to pass one request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what becomes of the request is to be told"]
pub struct Pass {
    service: Service,
    probe: Option<Moment>,
}

/// Why a request is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    TooSoon(TooSoon),
    /// Its service is taken for dead; try again after about so long.
    Broken(Duration),
}

/// Decides on one request; the tally is for the client, whatever is decided.
pub async fn admit(
    shared: &impl Shared,
    breakers: &Breakers,
    draws: &[Draw],
    way: &Way,
) -> (Tally, Result<Pass, Refusal>) {
    let (service, now) = (way.service, Moment::from(SystemTime::now()));
    let look_up = breakers.is_stale(service, now).then_some(service);
    let consulted = if draws.is_empty() && look_up.is_none() {
        Consulted::default()
    } else {
        shared.consult(draws, look_up).await.unwrap_or_default()
    };
    breakers.learn(service, consulted.breaker, now);
    let tally = Tally(consulted.standings);
    if let Err(too_soon) = tally.pass() {
        return (tally, Err(Refusal::TooSoon(too_soon)));
    }
    // A probe outlives the patience with its answer, so that no second one goes while it may still come back.
    let patience = way.patience + Duration::from_secs(1);
    let pass = match breakers.ask(shared, service, now, patience).await {
        Word::Go => Ok(Pass { service, probe: None }),
        Word::Probe(until) => Ok(Pass {
            service,
            probe: Some(until),
        }),
        Word::Wait(time) => Err(Refusal::Broken(time)),
    };
    (tally, pass)
}

/// Counts a request that the gateway answers by itself.
pub async fn count(shared: &impl Shared, draws: &[Draw]) -> Tally {
    if draws.is_empty() {
        return Tally::default();
    }
    let consulted = shared.consult(draws, None).await.unwrap_or_default();
    Tally(consulted.standings)
}

/// Notes what became of the request that was let through.
pub async fn conclude(shared: &impl Shared, breakers: &Breakers, pass: Pass, outcome: Outcome) {
    let (Pass { service, probe }, now) = (pass, SystemTime::now().into());
    breakers.tell(shared, service, now, outcome, probe).await;
}

#[cfg(test)]
mod tests {
    use super::super::breakers::Replaced;
    use super::*;
    use crate::domain::{Limits, Policy, Setting};
    use futures::executor::block_on;
    use std::cell::{Cell, RefCell};

    /// Answers with what it is given, unless it is away.
    #[derive(Default)]
    struct Fake {
        is_away: Cell<bool>,
        wait: Cell<Duration>,
        breaker: RefCell<String>,
        exchanges: Cell<usize>,
    }

    impl SharedBreakers for Fake {
        async fn replace(&self, _: Service, old: Breaker, new: Breaker) -> Option<Replaced> {
            if self.is_away.get() {
                return None;
            }
            let kept = Breaker::parse(&self.breaker.borrow()).unwrap();
            if kept != old {
                return Some(Replaced::Otherwise(kept));
            }
            self.breaker.replace(new.to_string());
            Some(Replaced::Done)
        }
    }

    impl Shared for Fake {
        async fn consult(&self, draws: &[Draw], service: Option<Service>) -> Option<Consulted> {
            self.exchanges.set(self.exchanges.get() + 1);
            if self.is_away.get() {
                return None;
            }
            let buckets = draws.iter().flat_map(|draw| &draw.buckets);
            let standing = |(policy, limit): &(Policy, _)| Standing {
                policy: *policy,
                limit: *limit,
                left: 1,
                wait: self.wait.get(),
                more: Duration::ZERO,
            };
            Some(Consulted {
                standings: buckets.map(standing).collect(),
                breaker: service.and_then(|_| Breaker::parse(&self.breaker.borrow())),
            })
        }
    }

    const WAY: Way = Way {
        service: Service::Payment,
        patience: Duration::from_secs(10),
    };

    fn draws(requests: &str) -> Vec<Draw> {
        let off = Setting(None);
        let limits = Limits {
            requests: requests.parse().unwrap(),
            logins: off,
            registrations: off,
            user_requests: off,
            orders: off,
        };
        limits.draws(None, Some([10, 0, 0, 1].into()), || None)
    }

    fn open() -> Breaker {
        let now = Moment::from(SystemTime::now());
        (0..5).fold(Breaker::CLOSED, |breaker, _| {
            breaker.tell(now, Outcome::Failed, None)
        })
    }

    #[test]
    fn a_request_that_comes_too_soon_is_refused_and_is_no_probe() {
        let (fake, breakers) = (Fake::default(), Breakers::default());
        fake.wait.set(Duration::from_secs(2));
        let (tally, pass) = block_on(admit(&fake, &breakers, &draws("1/s"), &WAY));
        assert_eq!(tally.0.len(), 1);
        let Err(Refusal::TooSoon(too_soon)) = pass else {
            panic!("{pass:?}")
        };
        assert_eq!(
            (too_soon.retry_after_seconds, too_soon.policies),
            (2, vec!["requests"])
        );
    }

    #[test]
    fn a_service_that_others_found_dead_is_left_alone_until_a_probe_finds_it_alive() {
        let (fake, breakers) = (Fake::default(), Breakers::default());
        fake.breaker.replace(open().to_string());
        let (tally, pass) = block_on(admit(&fake, &breakers, &draws("1/s"), &WAY));
        assert_eq!(tally.0.len(), 1);
        assert!(matches!(pass, Err(Refusal::Broken(_))), "{pass:?}");

        // The pause was over long ago.
        let (fake, breakers) = (Fake::default(), Breakers::default());
        fake.breaker.replace("open 1".to_owned());
        let (_, pass) = block_on(admit(&fake, &breakers, &[], &WAY));
        let pass = pass.unwrap();
        assert!(pass.probe.is_some());
        let (_, second) = block_on(admit(&fake, &breakers, &[], &WAY));
        assert!(matches!(second, Err(Refusal::Broken(_))), "{second:?}");
        block_on(conclude(&fake, &breakers, pass, Outcome::Answered));
        let (_, third) = block_on(admit(&fake, &breakers, &[], &WAY));
        assert_eq!(third.unwrap().probe, None);
    }

    #[test]
    fn a_request_costs_one_exchange_and_without_limits_hardly_any() {
        let (fake, breakers) = (Fake::default(), Breakers::default());
        for _ in 0..10 {
            let (_, pass) = block_on(admit(&fake, &breakers, &draws("off"), &WAY));
            block_on(conclude(&fake, &breakers, pass.unwrap(), Outcome::Answered));
        }
        assert_eq!(fake.exchanges.get(), 1);
        for _ in 0..10 {
            let (_, pass) = block_on(admit(&fake, &breakers, &draws("1/s"), &WAY));
            block_on(conclude(&fake, &breakers, pass.unwrap(), Outcome::Answered));
        }
        assert_eq!(fake.exchanges.get(), 11);
    }

    #[test]
    fn a_request_that_the_gateway_answers_counts_too() {
        let fake = Fake::default();
        fake.wait.set(Duration::from_secs(2));
        assert!(block_on(count(&fake, &draws("1/s"))).pass().is_err());
        assert_eq!(block_on(count(&fake, &draws("off"))), Tally::default());
        assert_eq!(fake.exchanges.get(), 1);
        fake.is_away.set(true);
        assert_eq!(block_on(count(&fake, &draws("1/s"))), Tally::default());
    }

    #[test]
    fn when_nobody_answers_nothing_is_limited_and_an_instance_breaks_by_itself() {
        let (fake, breakers) = (Fake::default(), Breakers::default());
        fake.is_away.set(true);
        for _ in 0..5 {
            let (tally, pass) = block_on(admit(&fake, &breakers, &draws("1/s"), &WAY));
            assert_eq!(tally, Tally::default());
            block_on(conclude(&fake, &breakers, pass.unwrap(), Outcome::Failed));
        }
        let (_, pass) = block_on(admit(&fake, &breakers, &draws("1/s"), &WAY));
        assert!(matches!(pass, Err(Refusal::Broken(_))), "{pass:?}");
    }
}
