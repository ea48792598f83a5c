//! How often somebody guessed.

use super::PostgresAccounts;
use crate::application::{Admission, Attempt, Guesses, Outcome};
use crate::domain::Lane;
use serde::Serialize;
use service::StoreError;
use service::database::{Row, jsonb};
use std::time::Duration;

/// How long somebody waits while only attempts under way are before them.
const PATIENCE: u32 = 100;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A lane, for the statement.
#[derive(Serialize)]
struct LaneRow {
    key: String,
    failures: u32,
    within_seconds: u32,
    hold_seconds: u32,
}

impl Guesses for PostgresAccounts<'_> {
    async fn admit(&self, lanes: &[Lane]) -> Result<Admission, StoreError> {
        for _ in 0..PATIENCE {
            if let Some(admission) = self.try_admit(lanes).await? {
                return Ok(admission);
            }
            pause().await;
        }
        Err(StoreError::Contention)
    }

    async fn settle(&self, attempt: &Attempt, outcome: Outcome) -> Result<(), StoreError> {
        let keys: Vec<String> = attempt.lanes.iter().map(hex).collect();
        let parameters = vec![
            jsonb(&keys)?,
            attempt.mark.clone().into(),
            (outcome == Outcome::Failed).into(),
        ];
        self.session
            .query(include_str!("../sql/settle_attempt.sql"), parameters)
            .await?;
        Ok(())
    }
}

impl PostgresAccounts<'_> {
    /// `None`: it depends on attempts that are under way.
    async fn try_admit(&self, lanes: &[Lane]) -> Result<Option<Admission>, StoreError> {
        let rows: Vec<LaneRow> = lanes.iter().map(row_of).collect();
        let statement = include_str!("../sql/admit_attempt.sql");
        let row = self.session.query_one(statement, vec![jsonb(&rows)?]).await;
        let row = match row {
            Err(StoreError::Contention) => return Ok(None),
            row => row?,
        };
        let Some(row) = row else {
            return Err(StoreError::Mistake(
                "no row says whether an attempt is let through".to_owned(),
            ));
        };
        let admitted: Vec<String> = row.json("admitted")?;
        let attempt = Attempt {
            lanes: lanes
                .iter()
                .map(|lane| lane.key)
                .filter(|key| admitted.contains(&hex(key)))
                .collect(),
            mark: row.get("mark")?,
        };
        if attempt.lanes.len() == lanes.len() {
            return Ok(Some(Admission::Admitted(attempt)));
        }
        if !attempt.lanes.is_empty() {
            // One lane let it through and another did not.
            self.settle(&attempt, Outcome::Succeeded).await?;
        }
        refused(&row)
    }
}

fn row_of(lane: &Lane) -> LaneRow {
    LaneRow {
        key: hex(&lane.key),
        failures: lane.limit.failures,
        within_seconds: lane.limit.within_seconds,
        hold_seconds: lane.limit.hold_seconds,
    }
}

fn refused(row: &Row) -> Result<Option<Admission>, StoreError> {
    if row.get("is_busy")? {
        return Ok(None);
    }
    let seconds: i64 = row.get("retry_after_seconds")?;
    Ok(Some(Admission::Held {
        retry_after_seconds: u32::try_from(seconds.clamp(1, 60)).unwrap_or(60),
    }))
}

fn hex(key: &[u8; 32]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn pause() {
    spin_sdk::time::sleep(PAUSE).await;
}
