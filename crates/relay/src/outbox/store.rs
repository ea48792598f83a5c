//! The statements on one service's outbox, over one session.

use super::floor::{Place, Slice};
use super::window::{Failure, Row};
use crate::backoff::Backoff;
use crate::database::{self, DatabaseError, in_schema, within};
use crash_points::Point;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

/// What one poll asks for.
#[derive(Clone, Debug)]
pub(super) struct Poll {
    /// The most rows to look at.
    pub(super) rows: i64,
    /// The most rows to take of these.
    pub(super) take: i64,
    pub(super) partitions: super::lease::Partitions,
    /// Rows on their way already; they still wait, as far as the database knows.
    pub(super) in_flight: Vec<i64>,
    /// The place after which to begin.
    pub(super) after: Place,
}

/// A row after an attempt that failed.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: i64,
    pub(super) ordering_key: String,
    pub(super) event_type: String,
    pub(super) routing_key: String,
    pub(super) attempts: i32,
    pub(super) reason: String,
    pub(super) parked: bool,
}

pub(super) struct Store {
    client: Client,
    poll: Statement,
    mark: Statement,
    /// Seldom needed, and planned each time: no order of its rows tells one index from the other.
    back_off: String,
}

/// A batch holds no more, so a larger event could never be delivered.
const LARGEST_BODY: i32 = event_batch::MAX_BATCH_BYTES as i32 - 2;
/// Bounds the memory of a window, whatever its rows.
const MOST_BYTES: i64 = 8 * 1024 * 1024;

impl Store {
    /// Connects, and checks that the server keeps what it acknowledges.
    pub(super) async fn open(config: &tokio_postgres::Config, schema: &str) -> Result<Self, DatabaseError> {
        let client = database::connect(config, &format!("relay {schema}")).await?;
        database::check_durability(&client).await?;
        let session = include_str!("sql/session.sql");
        within(Point::RelaySet, client.batch_execute(session)).await?;
        let prepare = async |sql| within(Point::RelayPrepared, client.prepare(&in_schema(sql, schema))).await;
        let poll = prepare(include_str!("sql/poll.sql")).await?;
        let mark = prepare(include_str!("sql/mark.sql")).await?;
        Ok(Self {
            client,
            poll,
            mark,
            back_off: in_schema(include_str!("sql/back_off.sql"), schema),
        })
    }

    /// The rows to publish, and what was looked at to find them.
    pub(super) async fn poll(&self, poll: &Poll) -> Result<(Vec<Row>, Slice), DatabaseError> {
        let all = poll.partitions == super::lease::Partitions::ALL;
        let ours: Vec<i32> = poll.partitions.iter().map(i32::from).collect();
        let (due, id) = poll.after;
        let values: [&(dyn ToSql + Sync); 9] = [
            &poll.rows,
            &MOST_BYTES,
            &LARGEST_BODY,
            &all,
            &ours,
            &poll.in_flight,
            &due,
            &id,
            &poll.take,
        ];
        let rows = within(Point::RelayPolled, self.client.query(&self.poll, &values)).await?;
        Ok(looked_at(&rows, poll.rows)?)
    }

    pub(super) async fn mark(&self, ids: &[i64]) -> Result<(), DatabaseError> {
        within(Point::RelayMarked, self.client.execute(&self.mark, &[&ids]))
            .await
            .map(drop)
    }

    pub(super) async fn back_off(
        &self,
        failures: &[Failure],
        park_after: i32,
        backoff: Backoff,
    ) -> Result<Vec<Attempt>, DatabaseError> {
        let ids: Vec<i64> = failures.iter().map(|failure| failure.id).collect();
        let reasons: Vec<&str> = failures.iter().map(|failure| failure.reason.as_str()).collect();
        let (first, most) = (backoff.first.as_secs_f64(), backoff.most.as_secs_f64());
        let rows = within(
            Point::RelayBackedOff,
            self.client
                .query(&self.back_off, &[&ids, &reasons, &park_after, &first, &most]),
        )
        .await?;
        rows.iter()
            .map(|row| attempt(row).map_err(DatabaseError::from))
            .collect()
    }
}

/// What a poll answers: in every row the slice of at most `most` rows, and in each but a lone one a row to publish.
fn looked_at(rows: &[tokio_postgres::Row], most: i64) -> Result<(Vec<Row>, Slice), tokio_postgres::Error> {
    let Some(any) = rows.first() else {
        return Ok((Vec::new(), Slice::default()));
    };
    let mut taken = Vec::with_capacity(rows.len());
    for row in rows {
        if row.try_get::<_, Option<i64>>("id")?.is_some() {
            taken.push(read(row)?);
        }
    }
    let place = |due, id| -> Result<Option<Place>, tokio_postgres::Error> {
        Ok(any.try_get::<_, Option<_>>(due)?.zip(any.try_get(id)?))
    };
    let slice = Slice {
        first: place("first_due", "first_id")?,
        last: place("last_due", "last_id")?,
        full: any.try_get::<_, i64>("size")? >= most,
        skipped: any.try_get("skipped")?,
        taken: taken.len(),
    };
    Ok((taken, slice))
}

fn read(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    let partition: i32 = row.try_get("partition")?;
    Ok(Row {
        id: row.try_get("id")?,
        due_at: row.try_get("due_at")?,
        event_type: row.try_get("event_type")?,
        routing_key: row.try_get("routing_key")?,
        ordering_key: row.try_get("ordering_key")?,
        partition: u8::try_from(partition & 63).unwrap_or_default(),
        body: row.try_get("body")?,
        headers: row.try_get("headers")?,
    })
}

fn attempt(row: &tokio_postgres::Row) -> Result<Attempt, tokio_postgres::Error> {
    Ok(Attempt {
        id: row.try_get(0)?,
        ordering_key: row.try_get(1)?,
        event_type: row.try_get(2)?,
        routing_key: row.try_get(3)?,
        attempts: row.try_get(4)?,
        reason: row.try_get(5)?,
        parked: row.try_get(6)?,
    })
}
