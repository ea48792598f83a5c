//! What is published together, and what follows from the broker's answers. Decisions only: no I/O, no clock.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

/// A row of an outbox, as far as publishing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub id: i64,
    pub due_at: SystemTime,
    pub event_type: String,
    pub routing_key: String,
    pub ordering_key: String,
    /// Which of the 64 partitions the ordering key hashes into.
    pub partition: u8,
    /// The event in JSON; `None` if it is larger than a service would take.
    pub body: Option<String>,
    /// A JSON object of strings, to be copied to the message's headers.
    pub headers: String,
}

/// A row that could not be published, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub id: i64,
    pub reason: String,
}

/// A message that the broker gave back because no queue took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// As it was published; `None` if the broker gave back something without one.
    pub message_id: Option<String>,
    pub reason: String,
}

/// One publisher confirm. The returned message that comes with it need not be the one that it confirms: lapin hands
/// a return to whichever confirm completes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    pub acked: bool,
    pub returned: Option<Returned>,
}

/// What became of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Confirmed, and not returned: to be marked as processed.
    pub published: Vec<i64>,
    /// Returned: counts as an attempt.
    pub failed: Vec<Failure>,
    /// Refused by the broker for now: counts as nothing, is published again.
    pub nacked: Vec<i64>,
}

/// Rows whose confirms are awaited together: of each ordering key at most one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window<M> {
    sent: Vec<(i64, M)>,
}

impl<M> Window<M> {
    /// Makes a window of `rows`, of each key only the one with the lowest id. Those that `encode` refuses fail.
    pub fn select(rows: Vec<Row>, encode: impl Fn(&Row) -> Result<M, String>) -> (Self, Vec<Failure>) {
        let mut first: HashMap<&str, i64> = HashMap::new();
        for row in &rows {
            let id = first.entry(&row.ordering_key).or_insert(row.id);
            *id = row.id.min(*id);
        }
        let first: HashSet<i64> = first.into_values().collect();
        let mut sent = Vec::with_capacity(first.len());
        let mut failed = Vec::new();
        for row in rows.iter().filter(|row| first.contains(&row.id)) {
            match encode(row) {
                Ok(message) => sent.push((row.id, message)),
                Err(reason) => failed.push(Failure { id: row.id, reason }),
            }
        }
        (Self { sent }, failed)
    }

    /// What to publish, in this order.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &M> {
        self.sent.iter().map(|(_, message)| message)
    }

    /// Judges the window once the confirm of each of its messages is in, given in the order of `messages`.
    /// `message_id` is what the row of that id was published as.
    ///
    /// `None` if that is not known for sure (a confirm is missing, or something unknown came back): then nothing may
    /// be marked, nothing counts as an attempt, and all is published again.
    #[must_use]
    pub fn judge(&self, confirms: &[Confirm], message_id: impl Fn(i64) -> String) -> Option<Verdict> {
        if confirms.len() != self.sent.len() {
            return None;
        }
        let mut returned: HashMap<&str, &str> = HashMap::new();
        for back in confirms.iter().filter_map(|confirm| confirm.returned.as_ref()) {
            returned.insert(back.message_id.as_deref()?, &back.reason);
        }
        let mut verdict = Verdict::default();
        for ((id, _), confirm) in self.sent.iter().zip(confirms) {
            match returned.remove(message_id(*id).as_str()) {
                Some(reason) => verdict.failed.push(Failure {
                    id: *id,
                    reason: reason.to_owned(),
                }),
                None if confirm.acked => verdict.published.push(*id),
                None => verdict.nacked.push(*id),
            }
        }
        // A return of something that is not in this window was not this window's to be told.
        returned.is_empty().then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(id: i64, key: &str) -> Row {
        Row {
            id,
            due_at: SystemTime::UNIX_EPOCH,
            event_type: "E".to_owned(),
            routing_key: "e".to_owned(),
            ordering_key: key.to_owned(),
            partition: 0,
            body: Some("{}".to_owned()),
            headers: "{}".to_owned(),
        }
    }

    fn window(ids: &[i64]) -> Window<i64> {
        let rows = ids.iter().map(|id| row(*id, &id.to_string())).collect();
        Window::select(rows, |row| Ok(row.id)).0
    }

    fn name(id: i64) -> String {
        format!("s:{id}")
    }

    fn ack(returned: Option<i64>) -> Confirm {
        let returned = returned.map(|id| Returned {
            message_id: Some(name(id)),
            reason: "NO_ROUTE".to_owned(),
        });
        Confirm {
            acked: true,
            returned,
        }
    }

    #[test]
    fn of_each_key_only_the_first_row_is_in_a_window_whatever_order_they_were_read_in() {
        let rows = vec![row(9, "a"), row(4, "b"), row(3, "a"), row(5, "b")];
        let (window, failed) = Window::select(rows, |row| Ok(row.id));
        assert_eq!(window.messages().copied().collect::<Vec<_>>(), [4, 3]);
        assert!(failed.is_empty());
    }

    #[test]
    fn a_row_that_cannot_be_encoded_fails_and_the_next_of_its_key_does_not_take_its_place() {
        let encode = |row: &Row| {
            if row.id == 1 {
                Err("too large".to_owned())
            } else {
                Ok(row.id)
            }
        };
        let (window, failed) = Window::select(vec![row(1, "a"), row(2, "a"), row(3, "b")], encode);
        assert_eq!(window.messages().copied().collect::<Vec<_>>(), [3]);
        assert_eq!(
            failed,
            [Failure {
                id: 1,
                reason: "too large".to_owned()
            }]
        );
    }

    #[test]
    fn a_returned_message_fails_alone_though_another_confirm_carried_it() {
        let verdict = window(&[1, 2, 3])
            .judge(&[ack(Some(3)), ack(None), ack(None)], name)
            .unwrap();
        assert_eq!(verdict.published, [1, 2]);
        assert_eq!(
            verdict.failed,
            [Failure {
                id: 3,
                reason: "NO_ROUTE".to_owned()
            }]
        );
    }

    #[test]
    fn nothing_is_known_of_a_window_while_one_confirm_is_missing() {
        assert_eq!(window(&[1, 2]).judge(&[ack(None)], name), None);
    }

    #[test]
    fn nothing_is_known_of_a_window_when_something_unknown_came_back() {
        assert_eq!(window(&[1]).judge(&[ack(Some(7))], name), None);
        let nameless = Confirm {
            acked: true,
            returned: Some(Returned {
                message_id: None,
                reason: String::new(),
            }),
        };
        assert_eq!(window(&[1]).judge(&[nameless], name), None);
    }

    #[test]
    fn a_nack_marks_nothing_and_counts_as_nothing() {
        let nack = Confirm {
            acked: false,
            returned: None,
        };
        let verdict = window(&[1, 2]).judge(&[nack, ack(None)], name).unwrap();
        assert_eq!((verdict.published, verdict.nacked), (vec![2], vec![1]));
        assert!(verdict.failed.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_confirm_a_return_comes_with_exactly_the_returned_rows_fail(
            returned in proptest::collection::vec(any::<bool>(), 1..60),
            seed in any::<u64>(),
        ) {
            let ids: Vec<i64> = (0..).take(returned.len()).collect();
            let mut slots: Vec<Option<i64>> =
                ids.iter().zip(&returned).map(|(id, back)| back.then_some(*id)).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut slots);
            let confirms: Vec<Confirm> = slots.into_iter().map(ack).collect();
            let verdict = window(&ids).judge(&confirms, name).unwrap();
            let failed: Vec<i64> = verdict.failed.iter().map(|failure| failure.id).collect();
            let expected: Vec<i64> =
                ids.iter().zip(&returned).filter(|(_, back)| **back).map(|(id, _)| *id).collect();
            prop_assert_eq!(failed, expected);
            prop_assert_eq!(verdict.published.len() + verdict.failed.len(), ids.len());
        }
    }
}
