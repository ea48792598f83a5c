//! Removes what has been kept long enough: processed outbox rows after 7 days, inbox ids after 30 (R9), answers by
//! idempotency key after a day, resolved dead letters after 90 days. In small steps with pauses between them, so that
//! nobody else notices. Which of these tables a service has is seen when it is looked at.

use crate::backoff::Condition;
use crate::database::{self, DatabaseError, in_schema, within};
use crash_points::Point;
use std::time::Duration;
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

const STEP: i64 = 1_000;
const BETWEEN_STEPS: Duration = Duration::from_millis(100);

/// What is kept for how long, and how often it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct PruneSettings {
    /// Processed rows of an outbox.
    pub outbox: Duration,
    /// Ids of handled events.
    pub inbox: Duration,
    /// Answers by idempotency key.
    pub idempotency_keys: Duration,
    /// Dead letters that an operator has dealt with.
    pub dead_letters: Duration,
    pub interval: Duration,
}

impl Default for PruneSettings {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            outbox: 7 * DAY,
            inbox: 30 * DAY,
            idempotency_keys: DAY,
            dead_letters: 90 * DAY,
            interval: Duration::from_secs(600),
        }
    }
}

pub(crate) struct Prune {
    pub(crate) service: String,
    pub(crate) database: tokio_postgres::Config,
    pub(crate) settings: PruneSettings,
    pub(crate) drain: CancellationToken,
}

impl Prune {
    pub(crate) async fn run(self) {
        let mut condition = Condition::new(format!("pruning of {}", self.service));
        loop {
            tokio::select! {
                // Not at once, and not all services at the same moment.
                () = sleep(self.settings.interval.mul_f64(0.5 + fastrand::f64())) => {}
                () = self.drain.cancelled() => return,
            }
            tokio::select! {
                pruned = self.prune() => match pruned {
                    Ok(()) => condition.up(),
                    Err(error) => {
                        condition.down(&error.to_string());
                    }
                },
                () = self.drain.cancelled() => return,
            }
        }
    }

    async fn prune(&self) -> Result<(), DatabaseError> {
        let client = database::connect(&self.database, &format!("prune {}", self.service)).await?;
        let outbox = self.prune_outbox(&client).await?;
        let inbox = self.prune_inbox(&client).await?;
        let keys = include_str!("sql/prune_idempotency_keys.sql");
        let keys = self.prune_oldest(&client, "idempotency_keys", keys, self.settings.idempotency_keys);
        let keys = keys.await?;
        let letters = include_str!("sql/prune_dead_letters.sql");
        let letters = self.prune_oldest(&client, "dead_letters", letters, self.settings.dead_letters);
        let letters = letters.await?;
        if outbox + inbox > 0 || keys + letters > 0 {
            info!(
                service = self.service,
                outbox_rows = outbox,
                inbox_ids = inbox,
                idempotency_keys = keys,
                dead_letters = letters,
                "pruned"
            );
        }
        Ok(())
    }

    /// By a step that removes the oldest rows, at most so many, that are older than they are kept.
    async fn prune_oldest(
        &self,
        client: &Client,
        table: &str,
        sql: &str,
        kept: Duration,
    ) -> Result<u64, DatabaseError> {
        if !self.may_prune(client, table).await? {
            return Ok(0);
        }
        let step = within(
            Point::PrunePrepared,
            client.prepare(&in_schema(sql, &self.service)),
        )
        .await?;
        let mut total = 0;
        loop {
            let kept = kept.as_secs_f64();
            let removed = within(Point::Pruned, client.execute(&step, &[&STEP, &kept])).await?;
            total += removed;
            if removed < STEP.cast_unsigned() {
                return Ok(total);
            }
            sleep(BETWEEN_STEPS).await;
        }
    }

    async fn prune_outbox(&self, client: &Client) -> Result<i64, DatabaseError> {
        if !self.may_prune(client, "outbox_messages").await? {
            return Ok(0);
        }
        let sql = in_schema(include_str!("sql/prune_outbox.sql"), &self.service);
        let step = within(Point::PrunePrepared, client.prepare(&sql)).await?;
        let (mut after, mut total) = (0_i64, 0);
        loop {
            let kept = self.settings.outbox.as_secs_f64();
            let row = within(Point::Pruned, client.query_one(&step, &[&after, &STEP, &kept])).await?;
            total += row.try_get::<_, i64>(1)?;
            match row.try_get(0)? {
                Some(reached) if !row.try_get::<_, bool>(2)? => after = reached,
                _ => return Ok(total),
            }
            sleep(BETWEEN_STEPS).await;
        }
    }

    async fn prune_inbox(&self, client: &Client) -> Result<i64, DatabaseError> {
        if !self.may_prune(client, "inbox").await? {
            return Ok(0);
        }
        let sql = in_schema(include_str!("sql/prune_inbox.sql"), &self.service);
        let step = within(Point::PrunePrepared, client.prepare(&sql)).await?;
        let (mut after, mut total) = (Uuid::nil(), 0);
        loop {
            let kept = self.settings.inbox.as_secs_f64();
            let row = within(Point::Pruned, client.query_one(&step, &[&after, &STEP, &kept])).await?;
            total += row.try_get::<_, i64>(1)?;
            match row.try_get(0)? {
                Some(reached) if !row.try_get::<_, bool>(2)? => after = reached,
                _ => return Ok(total),
            }
            sleep(BETWEEN_STEPS).await;
        }
    }

    async fn may_prune(&self, client: &Client, table: &str) -> Result<bool, DatabaseError> {
        let name = in_schema(&format!("{{schema}}.{table}"), &self.service);
        let sql = include_str!("sql/may_prune.sql");
        let row = within(Point::PruneAsked, client.query_one(sql, &[&name])).await?;
        Ok(row.try_get(0)?)
    }
}
