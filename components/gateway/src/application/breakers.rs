//! The breakers of all services as this instance sees them. What it decides it shares with all others, as far as there
//! is somebody who keeps it for them; otherwise it goes by what it saw itself.

use crate::domain::{Breaker, Moment, Outcome, Service, Word};
use std::cell::Cell;
use std::time::Duration;

/// How long what the others told is good for.
const FRESH: Duration = Duration::from_millis(500);

/// How often a change is tried while others change the same.
const ROUNDS: usize = 3;

/// When to come back where the others are faster each time.
const SOON: Duration = Duration::from_secs(1);

/// Who keeps breakers for all instances.
pub trait SharedBreakers {
    /// Puts `new` in the place of `old`, if that still stands there. It MUST be one step: of two who replace the same,
    /// one finds the other's. `None` if nobody keeps it.
    async fn replace(&self, service: Service, old: Breaker, new: Breaker) -> Option<Replaced>;
}

/// What became of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    Done,
    /// This stands there.
    Otherwise(Breaker),
}

/// What this instance knows of each service's breaker.
pub struct Breakers([Cell<View>; Service::ALL.len()]);

#[derive(Clone, Copy)]
struct View {
    breaker: Breaker,
    /// When the others told.
    told: Option<Moment>,
    /// Nobody was told of it yet.
    is_news: bool,
}

impl Default for Breakers {
    fn default() -> Self {
        let view = View {
            breaker: Breaker::CLOSED,
            told: None,
            is_news: false,
        };
        Self(Service::ALL.map(|_| Cell::new(view)))
    }
}

impl Breakers {
    /// Whether it is time to ask what the others know.
    pub fn is_stale(&self, service: Service, now: Moment) -> bool {
        let told = self.view(service).get().told;
        told.is_none_or(|told| now.since(told) >= FRESH)
    }

    /// Takes over what the others know, if they told.
    pub fn learn(&self, service: Service, breaker: Option<Breaker>, now: Moment) {
        if let Some(breaker) = breaker {
            self.view(service).set(View {
                breaker,
                told: Some(now),
                is_news: true,
            });
        }
    }

    /// What is known.
    pub fn known(&self, service: Service) -> Breaker {
        self.view(service).get().breaker
    }

    /// What is known, if it was learned or decided since this was last asked.
    pub fn news(&self, service: Service) -> Option<Breaker> {
        let view = self.view(service).get();
        self.view(service).set(View {
            is_news: false,
            ..view
        });
        view.is_news.then_some(view.breaker)
    }

    /// Whether a request may go to `service`. A probe is given up after `patience`.
    pub async fn ask(
        &self,
        shared: &impl SharedBreakers,
        service: Service,
        now: Moment,
        patience: Duration,
    ) -> Word {
        for _ in 0..ROUNDS {
            let known = self.known(service);
            let (word, next) = known.ask(now, patience);
            if self.settle(shared, service, known, next, now).await {
                return word;
            }
        }
        Word::Wait(SOON)
    }

    /// Notes what became of a request that went as this `probe`, or was free to go.
    pub async fn tell(
        &self,
        shared: &impl SharedBreakers,
        service: Service,
        now: Moment,
        outcome: Outcome,
        probe: Option<Moment>,
    ) {
        for _ in 0..ROUNDS {
            let known = self.known(service);
            let next = known.tell(now, outcome, probe);
            if self.settle(shared, service, known, next, now).await {
                return;
            }
        }
    }

    /// Makes `next` of `known`, here and for the others; `false` if they know otherwise.
    async fn settle(
        &self,
        shared: &impl SharedBreakers,
        service: Service,
        known: Breaker,
        next: Breaker,
        now: Moment,
    ) -> bool {
        if next == known {
            return true;
        }
        // Before the others are asked, so that no two requests of this instance both are the probe.
        let told = self.view(service).get().told;
        self.view(service).set(View {
            breaker: next,
            told,
            is_news: true,
        });
        match shared.replace(service, known, next).await {
            // What this instance saw meanwhile stands.
            None => true,
            Some(Replaced::Done) => {
                self.learn(service, Some(next), now);
                true
            }
            Some(Replaced::Otherwise(found)) => {
                self.learn(service, Some(found), now);
                false
            }
        }
    }

    fn view(&self, service: Service) -> &Cell<View> {
        let [auth, catalog, ordering, payment, delivery] = &self.0;
        match service {
            Service::Auth => auth,
            Service::Catalog => catalog,
            Service::Ordering => ordering,
            Service::Payment => payment,
            Service::Delivery => delivery,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::future::join_all;
    use std::cell::RefCell;
    use std::time::SystemTime;

    const PATIENCE: Duration = Duration::from_secs(11);
    const FAILURES: usize = 5;
    const PAUSE: Duration = Duration::from_secs(5);

    fn now() -> Moment {
        SystemTime::now().into()
    }

    /// Keeps one breaker, unless it is away; every change takes a turn, so that others come between.
    #[derive(Default)]
    struct Keeper {
        kept: RefCell<String>,
        is_away: Cell<bool>,
        asked: Cell<usize>,
    }

    impl Keeper {
        fn kept(&self) -> Breaker {
            Breaker::parse(&self.kept.borrow()).unwrap()
        }
    }

    impl SharedBreakers for Keeper {
        async fn replace(&self, _: Service, old: Breaker, new: Breaker) -> Option<Replaced> {
            self.asked.set(self.asked.get() + 1);
            let mut is_first = true;
            std::future::poll_fn(|context| {
                if std::mem::take(&mut is_first) {
                    context.waker().wake_by_ref();
                    return std::task::Poll::Pending;
                }
                std::task::Poll::Ready(())
            })
            .await;
            if self.is_away.get() {
                return None;
            }
            if self.kept() != old {
                return Some(Replaced::Otherwise(self.kept()));
            }
            self.kept.replace(new.to_string());
            Some(Replaced::Done)
        }
    }

    fn fail(keeper: &Keeper, breakers: &Breakers, now: Moment, times: usize) {
        for _ in 0..times {
            block_on(breakers.tell(keeper, Service::Payment, now, Outcome::Failed, None));
        }
    }

    fn ask(keeper: &Keeper, breakers: &Breakers, now: Moment) -> Word {
        block_on(breakers.ask(keeper, Service::Payment, now, PATIENCE))
    }

    #[test]
    fn failures_that_instances_see_between_them_open_the_breaker_of_all() {
        let (keeper, now) = (Keeper::default(), now());
        let instances = [Breakers::default(), Breakers::default(), Breakers::default()];
        for instance in instances.iter().cycle().take(FAILURES) {
            fail(&keeper, instance, now, 1);
        }
        assert_eq!(keeper.kept().name(), "open");
        for instance in &instances {
            instance.learn(Service::Payment, Some(keeper.kept()), now);
            assert_eq!(ask(&keeper, instance, now), Word::Wait(PAUSE));
            assert_eq!(instance.known(Service::Catalog), Breaker::CLOSED);
        }
    }

    #[test]
    fn of_all_who_ask_at_once_when_the_pause_is_over_one_goes() {
        for is_away in [false, true] {
            let (keeper, now) = (Keeper::default(), now());
            keeper.is_away.set(is_away);
            let instances = [Breakers::default(), Breakers::default()];
            fail(&keeper, &instances[0], now, FAILURES);
            let open = instances[0].known(Service::Payment);
            assert_eq!(open.name(), "open");
            instances[1].learn(Service::Payment, Some(open), now);
            let later = now.plus(PAUSE);
            let all = instances.iter().cycle().take(20);
            let words =
                block_on(join_all(all.map(|instance| {
                    instance.ask(&keeper, Service::Payment, later, PATIENCE)
                })));
            let probes = words.iter().filter(|word| matches!(word, Word::Probe(_))).count();
            // With nobody between them, each instance finds out for itself.
            let expected = if is_away { instances.len() } else { 1 };
            assert_eq!(probes, expected, "{words:?}");
            assert!(!words.contains(&Word::Go));
        }
    }

    #[test]
    fn a_probe_that_is_answered_closes_the_breaker_for_all() {
        let (keeper, now) = (Keeper::default(), now());
        let breakers = Breakers::default();
        fail(&keeper, &breakers, now, FAILURES);
        let later = now.plus(PAUSE);
        let Word::Probe(probe) = ask(&keeper, &breakers, later) else {
            panic!("no probe")
        };
        block_on(breakers.tell(&keeper, Service::Payment, later, Outcome::Answered, Some(probe)));
        assert_eq!(keeper.kept(), Breaker::CLOSED);
        assert_eq!(ask(&keeper, &breakers, later), Word::Go);
    }

    #[test]
    fn without_anybody_who_keeps_it_an_instance_goes_by_what_it_saw() {
        let (keeper, now) = (Keeper::default(), now());
        keeper.is_away.set(true);
        let breakers = Breakers::default();
        fail(&keeper, &breakers, now, FAILURES);
        assert_eq!(ask(&keeper, &breakers, now), Word::Wait(PAUSE));
        assert!(matches!(ask(&keeper, &breakers, now.plus(PAUSE)), Word::Probe(_)));
    }

    #[test]
    fn a_service_that_does_well_costs_nobody_a_word() {
        let (keeper, now) = (Keeper::default(), now());
        let breakers = Breakers::default();
        for _ in 0..100 {
            assert_eq!(ask(&keeper, &breakers, now), Word::Go);
            block_on(breakers.tell(&keeper, Service::Payment, now, Outcome::Answered, None));
        }
        assert_eq!(keeper.asked.get(), 0);
    }

    #[test]
    fn what_is_learned_or_decided_is_news_once() {
        let (keeper, breakers, now) = (Keeper::default(), Breakers::default(), now());
        assert_eq!(breakers.news(Service::Payment), None);
        breakers.learn(Service::Payment, Some(Breaker::CLOSED), now);
        assert_eq!(breakers.news(Service::Payment), Some(Breaker::CLOSED));
        assert_eq!(breakers.news(Service::Payment), None);
        fail(&keeper, &breakers, now, FAILURES);
        assert_eq!(breakers.news(Service::Payment).map(Breaker::name), Some("open"));
        assert_eq!(breakers.news(Service::Catalog), None);
    }

    #[test]
    fn what_the_others_told_is_good_for_a_moment() {
        let (breakers, now) = (Breakers::default(), now());
        assert!(breakers.is_stale(Service::Payment, now));
        breakers.learn(Service::Payment, Some(Breaker::CLOSED), now);
        assert!(!breakers.is_stale(Service::Payment, now));
        assert!(breakers.is_stale(Service::Payment, now.plus(FRESH)));
        breakers.learn(Service::Payment, None, now.plus(FRESH));
        assert!(breakers.is_stale(Service::Payment, now.plus(FRESH)));
    }
}
