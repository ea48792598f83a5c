//! Where a poll begins to look. Rows that were processed a moment ago are in the index until it is cleaned, and longer
//! while some transaction is open that could still see them: a poll that began at the start would walk past them all.
//! Decisions only: no I/O, and time is a parameter.

use super::window::Row;
use std::time::{Duration, Instant, SystemTime};

/// A place in the order of the poll: when a row is due, and its id.
pub type Place = (SystemTime, i64);

/// How long before what is due now a poll begins while it finds all there is: a row becomes visible later than it is
/// due, by as long as its transaction took.
const SLACK: Duration = Duration::from_secs(10);
/// How long a row can be overlooked that became visible later than that.
const SWEEP: Duration = Duration::from_secs(1);
/// The same while a backlog is worked off, when a poll begins exactly where the one before did.
const SWEEP_IN_BACKLOG: Duration = Duration::from_millis(250);
/// A sweep that walks past a great many rows may take at most one part in so many of the time.
const SWEEP_SHARE: u32 = 20;
/// However long a sweep takes, the next one comes after this.
const SWEEP_AT_LATEST: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Default)]
pub struct Floor {
    place: Found,
    /// When the last sweep was sent.
    swept: Option<Instant>,
    /// Whether the poll under way is one.
    sweeping: bool,
    /// What the last one took.
    sweep_took: Duration,
}

/// What the last poll that found anything says of where to begin.
#[derive(Clone, Copy, Debug, Default)]
enum Found {
    #[default]
    Nothing,
    /// There was more than one poll takes.
    Backlog(Place),
    /// All there was, the last of it due at this time and found at that instant. The server's clock was past the one at
    /// the other, and both have gone on since.
    All(SystemTime, Instant),
}

impl Floor {
    /// Where the poll that is sent now is to begin; `None` for the very start.
    pub fn begin(&mut self, now: Instant) -> Option<Place> {
        let (place, interval) = match self.place {
            Found::Nothing => (None, SWEEP),
            Found::Backlog(place) => (Some(place), SWEEP_IN_BACKLOG),
            Found::All(due, found) => {
                let due = due.checked_add(now.saturating_duration_since(found));
                let due = due.and_then(|due| due.checked_sub(SLACK));
                (due.map(|due| (due, 0)), SWEEP)
            }
        };
        let interval = interval.max(self.sweep_took.saturating_mul(SWEEP_SHARE).min(SWEEP_AT_LATEST));
        let fresh = |swept| now.saturating_duration_since(swept) < interval;
        self.sweeping = place.is_none() || !self.swept.is_some_and(fresh);
        if self.sweeping {
            self.swept = Some(now);
            return None;
        }
        place
    }

    /// What it found by `now`, in the order of the poll, and whether there may have been more.
    pub fn found(&mut self, rows: &[Row], full: bool, now: Instant) {
        if let (true, Some(swept)) = (self.sweeping, self.swept) {
            self.sweep_took = now.saturating_duration_since(swept);
        }
        if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
            self.place = if full {
                Found::Backlog((first.due_at, first.id))
            } else {
                Found::All(last.due_at, now)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(due: u64, id: i64) -> Row {
        Row {
            id,
            due_at: SystemTime::UNIX_EPOCH + Duration::from_secs(due),
            event_type: String::new(),
            routing_key: String::new(),
            ordering_key: String::new(),
            partition: 0,
            body: None,
            headers: String::new(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const QUICK: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_poll_begins_at_the_start() {
        assert_eq!(Floor::default().begin(Instant::now()), None);
    }

    #[test]
    fn in_a_backlog_a_poll_begins_where_the_last_one_did() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.begin(now);
        floor.found(&[row(100, 7), row(100, 8)], true, now + QUICK);
        assert_eq!(floor.begin(now + QUICK), Some((at(100), 7)));
        assert_eq!(floor.begin(now + Duration::from_millis(250)), None);
    }

    #[test]
    fn otherwise_it_begins_early_enough_for_rows_whose_transaction_took_its_time() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.begin(now);
        floor.found(&[row(90, 6), row(100, 7)], false, now);
        assert_eq!(floor.begin(now), Some((at(90), 0)));
    }

    #[test]
    fn while_nothing_comes_it_moves_on_with_the_time() {
        let (mut floor, mut now) = (Floor::default(), Instant::now());
        floor.begin(now);
        floor.found(&[row(100, 7)], false, now);
        for _ in 0..30 {
            now += Duration::from_secs(1);
            floor.begin(now);
            floor.found(&[], false, now);
        }
        let next = now + Duration::from_millis(500);
        assert_eq!(floor.begin(next), Some((at(120) + Duration::from_millis(500), 0)));
    }

    #[test]
    fn every_second_it_begins_at_the_start_so_that_nothing_is_overlooked_for_long() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.begin(now);
        floor.found(&[row(100, 7)], false, now);
        assert!(floor.begin(now + Duration::from_millis(999)).is_some());
        assert_eq!(floor.begin(now + Duration::from_secs(1)), None);
    }

    #[test]
    fn a_sweep_that_takes_long_is_rarer_but_never_rarer_than_once_a_minute() {
        let sweep_after = |took: Duration| {
            let (mut floor, now) = (Floor::default(), Instant::now());
            floor.begin(now);
            floor.found(&[row(100, 7)], false, now + took);
            (1..100).find(|seconds| floor.begin(now + Duration::from_secs(*seconds)).is_none())
        };
        assert_eq!(sweep_after(Duration::from_millis(10)), Some(1));
        assert_eq!(sweep_after(Duration::from_millis(500)), Some(10));
        assert_eq!(sweep_after(Duration::from_secs(9)), Some(60));
    }
}
