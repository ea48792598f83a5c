//! Publishes kept outbox rows again, after a broker was lost with what it had confirmed.
//!
//! Rows are not published here: they are made unprocessed, and the relays that run publish them as they publish
//! everything, so that the order within a key is theirs to keep as ever (R3). Rows of one key are made unprocessed by
//! one statement, for a relay takes the lowest id of a key that waits: were it done in two, a row that was just written
//! could come between.

use super::{Act, OperatorError, outbox_name, record};
use crate::database::{in_schema, within};
use chrono::{DateTime, Utc};
use crash_points::Point;
use serde::Serialize;
use std::collections::HashMap;
use tokio_postgres::Client;

/// How many rows are looked at by one statement.
const PAGE: i64 = 10_000;
/// After how many rows the statement that makes them unprocessed is full.
const STEP: usize = 500;

/// What is to be published again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// What was published since then.
    pub since: DateTime<Utc>,
    /// Of these services; of all if there is none.
    pub services: Vec<String>,
    /// Of these event types; of all if there is none.
    pub types: Vec<String>,
}

/// How many rows of a service's outbox will be published again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    pub service: String,
    pub rows: u64,
}

impl Replay {
    /// Without an act it only counts.
    pub(super) async fn carry_out(
        &self,
        client: &Client,
        own: &Client,
        service: &str,
        act: Option<&Act>,
    ) -> Result<u64, OperatorError> {
        let published = self.published(client, service).await?;
        let Some(act) = act else {
            return Ok(published.len() as u64);
        };
        if published.is_empty() {
            return Ok(0);
        }
        record(own, act, "replayed", &outbox_name(service), None).await?;
        let reset = in_schema(include_str!("sql/unprocess.sql"), service);
        let reset = within(Point::ReplayPrepared, client.prepare(&reset)).await?;
        let mut rows = 0;
        for step in steps(published) {
            rows += within(Point::ReplayUnprocessed, client.execute(&reset, &[&step])).await?;
        }
        Ok(rows)
    }

    /// Ids and ordering keys.
    async fn published(&self, client: &Client, service: &str) -> Result<Vec<(i64, String)>, OperatorError> {
        let sql = in_schema(include_str!("sql/published_since.sql"), service);
        let page = within(Point::ReplayPrepared, client.prepare(&sql)).await?;
        let types = (!self.types.is_empty()).then_some(self.types.as_slice());
        let (mut at, mut after) = (self.since, 0_i64);
        let mut all = Vec::new();
        loop {
            let rows = within(
                Point::ReplayRead,
                client.query(&page, &[&at, &after, &types, &PAGE]),
            )
            .await?;
            let Some(last) = rows.last() else { return Ok(all) };
            (at, after) = (last.try_get(2)?, last.try_get(0)?);
            for row in &rows {
                if row.try_get(3)? {
                    all.push((row.try_get(0)?, row.try_get(1)?));
                }
            }
        }
    }
}

/// The ids in their order, cut so that no key is in two steps: a key's rows go with its first.
fn steps(mut published: Vec<(i64, String)>) -> Vec<Vec<i64>> {
    published.sort_unstable();
    let mut keys: HashMap<String, Vec<i64>> = HashMap::new();
    let mut order = Vec::new();
    for (id, key) in published {
        let ids = keys.entry(key).or_insert_with_key(|key| {
            order.push(key.clone());
            Vec::new()
        });
        ids.push(id);
    }
    let mut steps = Vec::new();
    let mut step = Vec::with_capacity(STEP);
    for key in order {
        step.extend(keys.remove(&key).unwrap_or_default());
        if step.len() >= STEP {
            steps.push(std::mem::take(&mut step));
        }
    }
    if !step.is_empty() {
        steps.push(step);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_is_in_one_step_and_no_key_in_two(
            keys in proptest::collection::vec(0_u16..2_000, 0..3_000),
        ) {
            let rows: Vec<(i64, String)> = (1..).zip(keys.iter().map(u16::to_string)).collect();
            let key_of: HashMap<i64, String> = rows.iter().cloned().collect();
            let mut last_step: HashMap<&str, usize> = HashMap::new();
            let mut seen = 0;
            for (number, step) in steps(rows.clone()).iter().enumerate() {
                for id in step {
                    seen += 1;
                    prop_assert_eq!(*last_step.entry(&key_of[id]).or_insert(number), number);
                }
            }
            prop_assert_eq!(seen, rows.len());
        }
    }
}
