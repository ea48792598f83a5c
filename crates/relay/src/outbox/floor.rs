//! Where a poll begins to look. Rows that were processed a moment ago are in the index until it is cleaned, and longer
//! while some transaction is open that could still see them: a poll that began at the start would walk past them all.
//! And a poll looks at a slice of what is due, so that rows that wait behind others of their key do not make it long:
//! one slice after the other goes through a backlog. Decisions only: no I/O, and time is a parameter.

use std::time::{Duration, Instant, SystemTime};

/// A place in the order of the poll: when a row is due, and its id.
pub type Place = (SystemTime, i64);

/// Due before anything was ever written.
pub const START: Place = (SystemTime::UNIX_EPOCH, 0);

/// How long before what is due now a poll begins while it finds all there is: a row becomes visible later than it is
/// due, by as long as its transaction took.
const SLACK: Duration = Duration::from_secs(10);
/// How long a row can be overlooked that became visible later than that.
const SWEEP: Duration = Duration::from_secs(1);
/// The same while a backlog is gone through.
const SWEEP_IN_BACKLOG: Duration = Duration::from_millis(250);
/// A sweep that walks past a great many rows may take at most one part in so many of the time.
const SWEEP_SHARE: u32 = 20;
/// However long a sweep takes, the next one comes after this.
const SWEEP_AT_LATEST: Duration = Duration::from_secs(60);

/// A slice for several relays has at most so many windows in it.
const LARGEST_SLICE: u32 = 4;

/// How many rows a poll looks at to find about `window` of its own, if it holds so many of the 64 partitions: a little
/// fewer than that, for rows that are found and not taken are looked at again.
#[must_use]
pub fn slice_rows(window: u32, held: u32) -> u32 {
    if held >= 64 {
        return window;
    }
    let most = window.saturating_mul(LARGEST_SLICE);
    (window.saturating_mul(56) / held.max(1)).clamp(window, most)
}

/// What a poll looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Its first row; `None` if there was none.
    pub first: Option<Place>,
    /// Its last row.
    pub last: Option<Place>,
    /// Whether there may be more rows behind it.
    pub full: bool,
    /// Whether it had rows of ours that were not taken: they wait behind others of their key.
    pub skipped: bool,
    /// How many rows were taken.
    pub taken: usize,
}

/// What the poll under way is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Look {
    /// From the very start, lest anything be overlooked.
    #[default]
    Sweep,
    /// From the first row that is known to wait: those behind others of their key are there.
    Front,
    /// The next slice of a backlog.
    Walk,
    /// What has come of late.
    Recent,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Floor {
    look: Look,
    front: Option<Place>,
    /// How far a walk through a backlog has come.
    walked: Option<Place>,
    /// Whether rows were seen that wait behind others of their key.
    skipped: bool,
    /// When the last row was due of a poll that found all there was, and when it was found. The server's clock was past
    /// the one at the other, and both have gone on since.
    all: Option<(SystemTime, Instant)>,
    /// When the last sweep was sent, and what it took.
    swept: Option<Instant>,
    sweep_took: Duration,
}

impl Floor {
    /// After which place the poll that is sent now is to begin.
    pub fn begin(&mut self, now: Instant) -> Place {
        let place = if self.is_sweep_due(now) {
            None
        } else {
            self.next_look(now)
        };
        let (look, place) = place.unwrap_or((Look::Sweep, START));
        if look == Look::Sweep {
            self.swept = Some(now);
        }
        self.look = look;
        place
    }

    fn is_sweep_due(&self, now: Instant) -> bool {
        let interval = if self.walked.is_some() {
            SWEEP_IN_BACKLOG
        } else {
            SWEEP
        };
        let interval = interval.max(self.sweep_took.saturating_mul(SWEEP_SHARE).min(SWEEP_AT_LATEST));
        self.swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= interval)
    }

    fn next_look(&self, now: Instant) -> Option<(Look, Place)> {
        let front = || self.front.map(|(due, id)| (Look::Front, (due, id - 1)));
        match self.walked {
            // By turns: neither the front nor what is far behind it may starve.
            Some(_) if self.skipped && self.look == Look::Walk => front(),
            Some(place) => Some((Look::Walk, place)),
            None if self.skipped => front(),
            None => self.recent(now).map(|place| (Look::Recent, place)),
        }
    }

    fn recent(&self, now: Instant) -> Option<Place> {
        let (due, found) = self.all?;
        let due = due.checked_add(now.saturating_duration_since(found))?;
        Some((due.checked_sub(SLACK)?, 0))
    }

    /// What it looked at, by `now`. Gives whether there is more to look at right now.
    pub fn found(&mut self, slice: Slice, now: Instant) -> bool {
        if let (Look::Sweep, Some(swept)) = (self.look, self.swept) {
            self.sweep_took = now.saturating_duration_since(swept);
        }
        let at_the_front = matches!(self.look, Look::Sweep | Look::Front);
        if at_the_front {
            self.front = slice.first;
        }
        if !slice.full {
            self.walked = None;
            self.skipped = slice.skipped || (self.skipped && !at_the_front);
            self.all = slice.last.map(|(due, _)| (due, now)).or(self.all);
            return false;
        }
        self.skipped |= slice.skipped;
        match self.look {
            Look::Walk | Look::Recent => self.walked = slice.last,
            // Another walk, unless one is under way.
            Look::Sweep => self.walked = self.walked.or(slice.last),
            // Where the front has moved on, what is behind it may have.
            Look::Front if slice.taken > 0 => self.walked = self.walked.or(slice.last),
            Look::Front => return self.walked.is_some(),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_for_several_relays_is_larger_and_bounded() {
        let rows = [64, 32, 22, 16, 1, 0].map(|held| slice_rows(256, held));
        assert_eq!(rows, [256, 448, 651, 896, 1024, 1024]);
        assert_eq!(slice_rows(1, 64), 1);
        assert_eq!(slice_rows(1, 60), 1);
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn rows(first: u64, last: u64) -> Slice {
        Slice {
            first: Some((at(first), 1)),
            last: Some((at(last), 9)),
            taken: 1,
            ..Slice::default()
        }
    }

    fn full(first: u64, last: u64) -> Slice {
        Slice {
            full: true,
            ..rows(first, last)
        }
    }

    fn skipping(slice: Slice) -> Slice {
        Slice {
            skipped: true,
            ..slice
        }
    }

    const QUICK: Duration = Duration::from_millis(1);

    /// A floor that has swept, and what it found there.
    fn swept(slice: Slice) -> (Floor, Instant) {
        let (mut floor, now) = (Floor::default(), Instant::now());
        assert_eq!(floor.begin(now), START);
        floor.found(slice, now);
        (floor, now)
    }

    #[test]
    fn a_backlog_is_gone_through_slice_by_slice() {
        let (mut floor, now) = swept(full(100, 110));
        assert_eq!(floor.begin(now + QUICK), (at(110), 9));
        assert!(floor.found(full(110, 120), now + QUICK));
        assert_eq!(floor.begin(now + QUICK), (at(120), 9));
        assert!(!floor.found(rows(120, 130), now + QUICK));
        assert_eq!(floor.begin(now + QUICK), (at(120), 0), "what has come of late");
    }

    #[test]
    fn a_sweep_does_not_take_a_walk_back_to_the_start() {
        let (mut floor, now) = swept(full(100, 110));
        floor.begin(now);
        floor.found(full(110, 120), now);
        let later = now + SWEEP_IN_BACKLOG;
        assert_eq!(floor.begin(later), START);
        floor.found(full(100, 110), later);
        assert_eq!(floor.begin(later), (at(120), 9));
    }

    #[test]
    fn while_rows_wait_behind_others_of_their_key_front_and_walk_take_turns() {
        let (mut floor, now) = swept(skipping(full(100, 110)));
        assert_eq!(floor.begin(now), (at(110), 9));
        floor.found(full(110, 120), now);
        assert_eq!(
            floor.begin(now),
            (at(100), 0),
            "the first row itself is not left out"
        );
        floor.found(skipping(full(101, 111)), now);
        assert_eq!(floor.begin(now), (at(120), 9));
        floor.found(rows(120, 130), now);
        assert_eq!(floor.begin(now), (at(101), 0));
    }

    #[test]
    fn a_front_at_which_nothing_moves_is_not_polled_all_the_time() {
        let (mut floor, now) = swept(skipping(rows(100, 110)));
        assert_eq!(floor.begin(now), (at(100), 0));
        let stuck = Slice {
            taken: 0,
            ..skipping(full(100, 110))
        };
        assert!(!floor.found(stuck, now));
        assert!(floor.found(skipping(full(100, 110)), now), "it moves");
    }

    #[test]
    fn otherwise_it_begins_early_enough_for_rows_whose_transaction_took_its_time() {
        let (mut floor, now) = swept(rows(90, 100));
        assert_eq!(floor.begin(now), (at(90), 0));
    }

    #[test]
    fn while_nothing_comes_it_moves_on_with_the_time() {
        let (mut floor, mut now) = swept(rows(100, 100));
        for _ in 0..30 {
            now += Duration::from_secs(1);
            floor.begin(now);
            floor.found(Slice::default(), now);
        }
        let next = now + Duration::from_millis(500);
        assert_eq!(floor.begin(next), (at(120) + Duration::from_millis(500), 0));
    }

    #[test]
    fn every_second_it_begins_at_the_start_so_that_nothing_is_overlooked_for_long() {
        let (mut floor, now) = swept(rows(100, 100));
        assert_ne!(floor.begin(now + Duration::from_millis(999)), START);
        assert_eq!(floor.begin(now + Duration::from_secs(1)), START);
    }

    #[test]
    fn a_sweep_that_takes_long_is_rarer_but_never_rarer_than_once_a_minute() {
        let sweep_after = |took: Duration| {
            let (mut floor, now) = (Floor::default(), Instant::now());
            floor.begin(now);
            floor.found(rows(100, 100), now + took);
            (1..100).find(|seconds| floor.begin(now + Duration::from_secs(*seconds)) == START)
        };
        assert_eq!(sweep_after(Duration::from_millis(10)), Some(1));
        assert_eq!(sweep_after(Duration::from_millis(500)), Some(10));
        assert_eq!(sweep_after(Duration::from_secs(9)), Some(60));
    }
}
