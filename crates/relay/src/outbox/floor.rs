//! Where a poll begins to look. Rows that were processed a moment ago are in the index until it is cleaned, and longer
//! while some transaction is open that could still see them: a poll that began at the start would walk past them all.
//! Decisions only: no I/O, and time is a parameter.

use super::window::Row;
use std::time::{Duration, Instant, SystemTime};

/// A place in the order of the poll: when a row is due, and its id.
pub type Place = (SystemTime, i64);

/// How long before the rows that were seen last a poll begins while it finds all there is: a row becomes visible later
/// than it is due, by as long as its transaction took.
const SLACK: Duration = Duration::from_secs(10);
/// How long a row can be overlooked that became visible later than that.
const SWEEP: Duration = Duration::from_secs(1);
/// The same while a backlog is worked off, when a poll begins exactly where the one before did.
const SWEEP_IN_BACKLOG: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, Default)]
pub struct Floor {
    place: Option<Place>,
    backlog: bool,
    swept: Option<Instant>,
}

impl Floor {
    /// Where the poll that is sent now is to begin; `None` for the very start.
    pub fn begin(&mut self, now: Instant) -> Option<Place> {
        let interval = if self.backlog { SWEEP_IN_BACKLOG } else { SWEEP };
        let fresh = self
            .swept
            .is_some_and(|swept| now.saturating_duration_since(swept) < interval);
        if fresh && self.place.is_some() {
            return self.place;
        }
        self.swept = Some(now);
        None
    }

    /// What it found, and whether there may have been more.
    pub fn found(&mut self, rows: &[Row], full: bool) {
        self.backlog = full;
        if let Some(first) = rows.first() {
            let (due, id) = (first.due_at, first.id);
            self.place = if full {
                Some((due, id))
            } else {
                due.checked_sub(SLACK).map(|due| (due, 0))
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

    #[test]
    fn the_first_poll_begins_at_the_start() {
        assert_eq!(Floor::default().begin(Instant::now()), None);
    }

    #[test]
    fn in_a_backlog_a_poll_begins_where_the_last_one_did() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.begin(now);
        floor.found(&[row(100, 7), row(100, 8)], true);
        let place = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(floor.begin(now), Some((place, 7)));
        assert_eq!(floor.begin(now + Duration::from_millis(250)), None);
    }

    #[test]
    fn otherwise_it_begins_early_enough_for_rows_whose_transaction_took_its_time() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.begin(now);
        floor.found(&[row(100, 7)], false);
        floor.found(&[], false);
        let place = SystemTime::UNIX_EPOCH + Duration::from_secs(90);
        assert_eq!(floor.begin(now + Duration::from_millis(999)), Some((place, 0)));
    }

    #[test]
    fn every_second_it_begins_at_the_start_so_that_nothing_is_overlooked_for_long() {
        let (mut floor, now) = (Floor::default(), Instant::now());
        floor.begin(now);
        floor.found(&[row(100, 7)], false);
        assert_eq!(floor.begin(now + Duration::from_secs(1)), None);
    }
}
