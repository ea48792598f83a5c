//! Looks every few seconds at what waits for an operator: counts it for `/metrics`, and tells of rows that were parked,
//! or are parked no longer. It also says how much waits in each outbox, which is asked of Postgres alone: so it is told
//! while the broker is away and no relay is at work. And what a service says of itself: a view `gauges` in its schema, of
//! names, labels and values.
//!
//! A row is parked in its service's database, which need not be the bridge's own, and it is un-parked by whoever may
//! write there. So nothing is told where that happens: what is parked is compared with what was told
//! (`bridge.parked_rows`), and the difference is told and noted in one statement. A crash anywhere loses nothing, for
//! the next look finds the same difference. One bridge at a time does this, under an advisory lock.

use crate::backoff::Condition;
use crate::database::{self, DatabaseError, in_schema, within};
use crate::notices::{self, About, Notice};
use crate::operator::outbox_name;
use crash_points::Point;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// `shop` and `park`, as bytes.
const LOCK: i64 = 0x7368_6f70_7061_726b;
/// So many parked rows of an outbox are told of one by one.
const MOST: i64 = 10_000;

pub(crate) struct Lookout {
    /// The queues whose dead letters are counted also when there are none.
    pub(crate) queues: Vec<String>,
    /// Services with an outbox, and the database of each that has one of its own.
    pub(crate) outboxes: Vec<(String, Option<tokio_postgres::Config>)>,
    pub(crate) own: tokio_postgres::Config,
    /// The field of an event's data that says what it is about, if the bridge is to tell of parked rows.
    pub(crate) correlate_by: Option<String>,
    pub(crate) interval: Duration,
    pub(crate) drain: CancellationToken,
}

/// Connections, for as long as they last.
struct Sight {
    own: Client,
    /// By the service; `None` is the bridge's own.
    outboxes: Vec<(String, Option<Client>)>,
    /// Services that say nothing of themselves.
    silent: BTreeSet<String>,
    /// Whether the lock is ours.
    leads: bool,
}

/// A row that is parked.
struct Parked {
    id: i64,
    parked_at: SystemTime,
    event_type: String,
    about: Option<About>,
}

/// What was told of, and is parked no longer.
struct Gone {
    id: i64,
    event_type: String,
    about: Option<About>,
    resolution: String,
}

impl Lookout {
    /// Looks until it is drained.
    pub(crate) async fn run(self) {
        let mut condition = Condition::new("count of what waits for an operator");
        let mut sight = None;
        loop {
            let looked = tokio::select! {
                looked = self.look(&mut sight) => looked,
                () = self.drain.cancelled() => return,
            };
            match looked {
                Ok(()) => condition.up(),
                Err(error) => {
                    sight = None;
                    condition.down(&error.to_string());
                }
            }
            tokio::select! {
                () = sleep(self.interval) => {}
                () = self.drain.cancelled() => return,
            }
        }
    }

    async fn look(&self, sight: &mut Option<Sight>) -> Result<(), DatabaseError> {
        let sight = match sight {
            Some(sight) => sight,
            none => none.insert(self.open().await?),
        };
        self.count_letters(&sight.own).await?;
        for (service, moved) in &sight.outboxes {
            let client = moved.as_ref().unwrap_or(&sight.own);
            let sql = in_schema(include_str!("sql/count_parked.sql"), service);
            let counted = within(Point::ParkedCounted, client.query_one(&sql, &[])).await?;
            let parked: i64 = counted.try_get(0)?;
            metrics::gauge!("bridge_outbox_parked", "service" => service.clone()).set(parked as f64);
            let (pending, oldest) = depth(client, service).await?;
            metrics::gauge!("bridge_outbox_pending", "service" => service.clone()).set(pending as f64);
            metrics::gauge!("bridge_outbox_oldest_seconds", "service" => service.clone()).set(oldest);
            if sight.silent.contains(service) {
                continue;
            }
            match gauges(client, service).await? {
                Some(gauges) => gauges.into_iter().for_each(Gauge::show),
                None => {
                    sight.silent.insert(service.clone());
                }
            }
        }
        let Some(field) = &self.correlate_by else {
            return Ok(());
        };
        if !sight.leads {
            let lock = "select pg_try_advisory_lock($1)";
            let locked = within(Point::LookoutLeads, sight.own.query_one(lock, &[&LOCK])).await?;
            sight.leads = locked.try_get(0)?;
        }
        if sight.leads {
            for (service, moved) in &sight.outboxes {
                let client = moved.as_ref().unwrap_or(&sight.own);
                compare(&sight.own, client, service, field).await?;
            }
        }
        Ok(())
    }

    async fn open(&self) -> Result<Sight, DatabaseError> {
        // As for the relay: a walk along an index, whatever the planner thinks of a table that is nearly empty. And one
        // that was paused loses the lock, and finds that out by losing the session.
        let settings = "set enable_seqscan = off; set idle_session_timeout = '60s'";
        let own = database::connect(&self.own, "lookout").await?;
        within(Point::LookoutSet, own.batch_execute(settings)).await?;
        let mut outboxes = Vec::with_capacity(self.outboxes.len());
        for (service, config) in &self.outboxes {
            let mut moved = None;
            if let Some(config) = config {
                let client = database::connect(config, "lookout").await?;
                within(Point::LookoutSet, client.batch_execute(settings)).await?;
                moved = Some(client);
            }
            outboxes.push((service.clone(), moved));
        }
        Ok(Sight {
            own,
            outboxes,
            silent: BTreeSet::new(),
            leads: false,
        })
    }

    async fn count_letters(&self, own: &Client) -> Result<(), DatabaseError> {
        let mut counts: BTreeMap<String, i64> = self.queues.iter().map(|queue| (queue.clone(), 0)).collect();
        let counted = own.query(include_str!("sql/count_letters.sql"), &[]);
        for row in within(Point::LettersCounted, counted).await? {
            counts.insert(row.try_get(0)?, row.try_get(1)?);
        }
        for (queue, count) in counts {
            metrics::gauge!("bridge_dead_letters_open", "queue" => queue).set(count as f64);
        }
        Ok(())
    }
}

/// How many rows of an outbox are due (counted up to 10,001), and for how many seconds the oldest of them has been.
pub(crate) async fn depth(client: &Client, service: &str) -> Result<(i64, f64), DatabaseError> {
    let sql = in_schema(include_str!("sql/depth.sql"), service);
    let depth = within(Point::DepthCounted, client.query_one(&sql, &[])).await?;
    Ok((depth.try_get(0)?, depth.try_get(1)?))
}

/// What a service says of itself: the metric `<service>_<name>`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gauge {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Gauge {
    fn show(self) {
        let labels = self.labels.into_iter();
        let labels: Vec<metrics::Label> = labels
            .map(|(name, value)| metrics::Label::new(name, value))
            .collect();
        metrics::gauge!(self.name, labels).set(self.value);
    }
}

/// What a service says of itself. `None` if it has no such view.
pub(crate) async fn gauges(client: &Client, service: &str) -> Result<Option<Vec<Gauge>>, DatabaseError> {
    let sql = in_schema(include_str!("sql/gauges.sql"), service);
    let rows = match within(Point::GaugesRead, client.query(&sql, &[])).await {
        Ok(rows) => rows,
        Err(DatabaseError::Postgres(error)) if is_absent(error.code()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut gauges = Vec::with_capacity(rows.len());
    for row in rows {
        let (name, labels): (String, Value) = (row.try_get(0)?, row.try_get(1)?);
        if is_name(&name) {
            gauges.push(Gauge {
                name: format!("{service}_{name}"),
                labels: readable(&labels),
                value: row.try_get(2)?,
            });
        }
    }
    Ok(Some(gauges))
}

/// Not there, or not for us.
fn is_absent(code: Option<&SqlState>) -> bool {
    code == Some(&SqlState::UNDEFINED_TABLE) || code == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

/// Whether Prometheus can have it as a part of a name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The labels that Prometheus can have.
fn readable(labels: &Value) -> BTreeMap<String, String> {
    let labels = labels.as_object().into_iter().flatten();
    labels
        .filter(|(name, _)| is_name(name))
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Tells what changed since the last look.
async fn compare(own: &Client, outbox: &Client, service: &str, field: &str) -> Result<(), DatabaseError> {
    let parked = parked(outbox, service, field).await?;
    let ids: Vec<i64> = parked.iter().map(|row| row.id).collect();
    let whole = ids.len() < usize::try_from(MOST).unwrap_or(usize::MAX);
    let gone = if whole {
        gone(own, service, field, &ids).await?
    } else {
        Vec::new()
    };
    let told = "select row_id from bridge.parked_rows where service = $1";
    let told = within(Point::ToldRead, own.query(told, &[&service])).await?;
    let told: Result<BTreeSet<i64>, _> = told.iter().map(|row| row.try_get(0)).collect();
    let told = told?;
    let new: Vec<&Parked> = parked.iter().filter(|row| !told.contains(&row.id)).collect();
    if new.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let queue = outbox_name(service);
    let dead = new.iter().filter_map(|row| {
        let about = row.about.as_ref()?;
        Some(notices::dead_lettered(about, Some(&row.event_type), &queue))
    });
    let resolved = gone.iter().filter_map(|row| {
        let about = row.about.as_ref()?;
        Some(notices::resolved(
            about,
            Some(&row.event_type),
            &queue,
            &row.resolution,
        ))
    });
    let notices: Vec<Notice> = dead.chain(resolved).collect();
    let rows: Value = new.iter().map(|row| noted(row)).collect();
    let gone: Vec<i64> = gone.iter().map(|row| row.id).collect();
    let tell = include_str!("sql/tell_parked.sql");
    let (rows, notices) = (rows.to_string(), notices::rows(notices));
    within(
        Point::ParkedTold,
        own.execute(tell, &[&service, &rows, &gone, &notices]),
    )
    .await?;
    Ok(())
}

fn noted(row: &Parked) -> Value {
    let at = chrono::DateTime::<chrono::Utc>::from(row.parked_at);
    json!({
        "row_id": row.id,
        "parked_at": at,
        "event_type": row.event_type,
        "about": row.about.as_ref().map(About::id),
        "traceparent": row.about.as_ref().and_then(About::traceparent),
    })
}

async fn parked(outbox: &Client, service: &str, field: &str) -> Result<Vec<Parked>, DatabaseError> {
    let sql = in_schema(include_str!("sql/parked.sql"), service);
    let rows = within(Point::ParkedSeen, outbox.query(&sql, &[&MOST])).await?;
    let mut parked = Vec::with_capacity(rows.len());
    for row in rows {
        let event: Value = row.try_get(3)?;
        parked.push(Parked {
            id: row.try_get(0)?,
            parked_at: row.try_get(1)?,
            event_type: row.try_get(2)?,
            about: About::of(&event, field),
        });
    }
    Ok(parked)
}

/// Of what was told, all but `parked`.
async fn gone(own: &Client, service: &str, field: &str, parked: &[i64]) -> Result<Vec<Gone>, DatabaseError> {
    let sql = include_str!("sql/no_longer_parked.sql");
    let rows = within(Point::GoneSeen, own.query(sql, &[&service, &parked])).await?;
    let mut gone = Vec::with_capacity(rows.len());
    for row in rows {
        let about: Option<Uuid> = row.try_get(2)?;
        let traceparent: Option<String> = row.try_get(3)?;
        gone.push(Gone {
            id: row.try_get(0)?,
            event_type: row.try_get(1)?,
            about: about.map(|about| About::new(field, about, traceparent.as_deref())),
            resolution: row.try_get(4)?,
        });
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_prometheus_can_name_is_shown() {
        let labels = readable(&json!({"status": "created", "9": "x", "count": 7, "a b": "c"}));
        assert_eq!(
            labels,
            BTreeMap::from([("status".to_owned(), "created".to_owned())])
        );
        assert!(readable(&json!([])).is_empty());
        assert!(is_name("orders") && !is_name("") && !is_name("orders{x") && !is_name("Orders"));
    }
}
