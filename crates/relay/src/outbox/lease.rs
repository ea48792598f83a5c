//! Which partitions of an outbox are this process's to publish, how many it should hold, and until when it may
//! believe that it holds them. Decisions only: no I/O, and time is a parameter.

use std::time::{Duration, Instant};

/// Into how many partitions ordering keys hash. Final: two relays that disagree would publish one key side by side.
pub const PARTITIONS: u32 = 64;
/// The server ends the session, and with it every lock, when it has heard nothing for so long.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the session says that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// How much earlier than the server we stop believing in the locks.
const MARGIN: Duration = Duration::from_secs(2);

/// A set of partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partitions(pub u64);

impl Partitions {
    pub const ALL: Self = Self(u64::MAX);
    pub const NONE: Self = Self(0);

    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    #[must_use]
    pub fn contains(self, partition: u8) -> bool {
        partition < 64 && self.0 & (1 << partition) != 0
    }

    #[must_use]
    pub fn with(self, partition: u8) -> Self {
        Self(self.0 | 1_u64.checked_shl(u32::from(partition)).unwrap_or(0))
    }

    #[must_use]
    pub fn with_all(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |partition| self.contains(*partition))
    }

    /// At most `count` of them, beginning at `start` and going round, so that relays that look at the same moment
    /// reach for different ones.
    #[must_use]
    pub fn take(self, count: u32, start: u8) -> Self {
        (0..64)
            .map(|step| (start % 64 + step) % 64)
            .filter(|partition| self.contains(*partition))
            .take(count as usize)
            .fold(Self::NONE, Self::with)
    }
}

/// What a heartbeat brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Partitions that other relays hold.
    pub others: Partitions,
    /// How many relays live, this one included.
    pub relays: u32,
}

/// How many partitions each of `relays` aims at. Rounded up, so that none is left over.
#[must_use]
pub fn share(relays: u32) -> u32 {
    PARTITIONS.div_ceil(relays.max(1))
}

/// The partitions of one relay. Those that it has too many of are *leaving*: no row of theirs is begun any more, and
/// each is given up once it has no row under way. Giving one up earlier would let another relay publish the next row of
/// a key before this one's is known to have arrived.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    held: Partitions,
    leaving: Partitions,
    /// Where this relay begins to reach for partitions.
    start: u8,
}

impl Holding {
    #[must_use]
    pub fn new(start: u8) -> Self {
        Self {
            held: Partitions::NONE,
            leaving: Partitions::NONE,
            start,
        }
    }

    /// Those whose rows may be begun.
    #[must_use]
    pub fn usable(&self) -> Partitions {
        self.held.without(self.leaving)
    }

    /// Moves towards this relay's share. Returns the partitions to try to take.
    pub fn observe(&mut self, seen: Observation) -> Partitions {
        let share = share(seen.relays);
        let surplus = self.usable().count().saturating_sub(share);
        self.leaving = self.leaving.with_all(self.usable().take(surplus, self.start));
        let wanted = share.saturating_sub(self.usable().count());
        let kept = self.leaving.take(wanted, self.start);
        self.leaving = self.leaving.without(kept);
        let free = Partitions::ALL.without(seen.others).without(self.held);
        free.take(wanted - kept.count(), self.start)
    }

    /// These are ours now.
    pub fn took(&mut self, taken: Partitions) {
        self.held = self.held.with_all(taken);
    }

    /// Gives up what is leaving and has no row under way. What is returned is to be unlocked, and not ours any more.
    pub fn give_up(&mut self, busy: Partitions) -> Partitions {
        let free = self.leaving.without(busy);
        self.held = self.held.without(free);
        self.leaving = self.leaving.without(free);
        free
    }
}

/// Until when the locks may be believed in.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    until: Instant,
}

impl Validity {
    /// After a statement of the session that was *sent* at `sent` and answered: the server counts from when it
    /// received it, which is later.
    #[must_use]
    pub fn after_statement(sent: Instant) -> Self {
        Self {
            until: sent + (SESSION_TIMEOUT - MARGIN),
        }
    }

    /// Whether the locks are certainly still held. A process that was paused finds here that they may not be.
    #[must_use]
    pub fn holds(self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(others: Partitions, relays: u32) -> Observation {
        Observation { others, relays }
    }

    fn holding(held: Partitions) -> Holding {
        Holding {
            held,
            leaving: Partitions::NONE,
            start: 0,
        }
    }

    #[test]
    fn a_relay_on_its_own_takes_every_partition() {
        assert_eq!(
            Holding::new(17).observe(seen(Partitions::NONE, 1)),
            Partitions::ALL
        );
    }

    #[test]
    fn when_a_second_relay_appears_the_first_gives_up_half() {
        let mut holding = holding(Partitions::ALL);
        assert_eq!(holding.observe(seen(Partitions::NONE, 2)), Partitions::NONE);
        assert_eq!(holding.give_up(Partitions::NONE).count(), 32);
        assert_eq!(holding.usable().count(), 32);
    }

    #[test]
    fn a_partition_with_unconfirmed_rows_is_not_given_up_and_gets_no_new_ones() {
        let mut holding = holding(Partitions::ALL);
        holding.observe(seen(Partitions::NONE, 2));
        let busy = Partitions(0b11);
        assert_eq!(holding.give_up(busy), Partitions(u64::from(u32::MAX) - 0b11));
        assert_eq!(holding.usable().count(), 32);
        assert_eq!(holding.give_up(Partitions::NONE), busy);
    }

    #[test]
    fn a_partition_that_was_leaving_stays_if_the_other_relay_has_gone() {
        let mut holding = holding(Partitions::ALL);
        holding.observe(seen(Partitions::NONE, 2));
        assert_eq!(holding.observe(seen(Partitions::NONE, 1)), Partitions::NONE);
        assert_eq!(holding.usable(), Partitions::ALL);
    }

    #[test]
    fn what_a_dead_relay_held_is_taken_over() {
        let held = Partitions(u64::from(u32::MAX));
        assert_eq!(
            holding(held).observe(seen(Partitions::NONE, 1)),
            Partitions::ALL.without(held)
        );
    }

    #[test]
    fn a_paused_process_no_longer_believes_in_its_locks() {
        let sent = Instant::now();
        let validity = Validity::after_statement(sent);
        assert!(validity.holds(sent + Duration::from_secs(7)));
        assert!(!validity.holds(sent + Duration::from_secs(8)));
        assert!(!validity.holds(sent + Duration::from_secs(15)));
    }

    proptest! {
        #[test]
        fn any_number_of_relays_comes_to_rest_with_each_partition_held_once_and_none_above_its_share(
            relays in 1_usize..12,
            starts in proptest::collection::vec(0_u8..64, 12),
        ) {
            let mut all: Vec<Holding> = starts.into_iter().take(relays).map(Holding::new).collect();
            all[0].took(Partitions::ALL);
            for _ in 0..4 {
                for relay in 0..relays {
                    let theirs = all.iter().enumerate().filter(|(other, _)| *other != relay);
                    let others = theirs.fold(Partitions::NONE, |sum, (_, holding)| sum.with_all(holding.held));
                    let taken = all[relay].observe(seen(others, u32::try_from(relays).unwrap()));
                    prop_assert_eq!(taken.and(others), Partitions::NONE);
                    all[relay].took(taken);
                    all[relay].give_up(Partitions::NONE);
                }
            }
            let share = share(u32::try_from(relays).unwrap());
            prop_assert!(all.iter().all(|holding| holding.held.count() <= share));
            prop_assert_eq!(all.iter().fold(0, |sum, holding| sum | holding.held.0), u64::MAX);
            prop_assert_eq!(all.iter().map(|holding| holding.held.count()).sum::<u32>(), PARTITIONS);
        }
    }
}
