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
use futures::future::join_all;
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

/// Connections, for as long as each lasts, and what is shown of what was seen over them.
struct Sight {
    own: Option<Client>,
    /// Whether the lock is ours: it goes with the own connection.
    leads: bool,
    /// Queues whose dead letters are shown.
    queues: BTreeSet<String>,
    services: Vec<Watched>,
}

/// A service, over a connection of its own: one that is slow or away hides no other.
struct Watched {
    service: String,
    config: tokio_postgres::Config,
    client: Option<Client>,
    /// It says nothing of itself.
    is_silent: bool,
    /// What it said of itself.
    said: Vec<Gauge>,
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
        let mut sight = self.sight();
        loop {
            let looked = tokio::select! {
                looked = self.look(&mut sight) => looked,
                () = self.drain.cancelled() => return,
            };
            match looked {
                Ok(()) => condition.up(),
                Err(reason) => {
                    condition.down(&reason);
                }
            }
            tokio::select! {
                () = sleep(self.interval) => {}
                () = self.drain.cancelled() => return,
            }
        }
    }

    /// With nothing connected yet.
    fn sight(&self) -> Sight {
        let services = self.outboxes.iter().map(|(service, moved)| Watched {
            service: service.clone(),
            config: moved.as_ref().unwrap_or(&self.own).clone(),
            client: None,
            is_silent: false,
            said: Vec::new(),
        });
        Sight {
            own: None,
            leads: false,
            queues: self.queues.iter().cloned().collect(),
            services: services.collect(),
        }
    }

    /// Looks at whatever can be looked at. What cannot shows as no number, and is tried over a new connection next time.
    ///
    /// # Errors
    /// The first thing that could not be looked at, and why, on one line.
    async fn look(&self, sight: &mut Sight) -> Result<(), String> {
        let own = self.look_at_own(sight).await;
        let field = self.correlate_by.as_deref().filter(|_| sight.leads);
        let seen = join_all(sight.services.iter_mut().map(|watched| watched.look(field))).await;
        let told = self.tell(sight, &seen).await;
        // Last, for nothing hangs on it.
        let heard = join_all(sight.services.iter_mut().map(Watched::listen)).await;
        let seen = seen.into_iter().map(|seen| seen.map(drop));
        [own, told].into_iter().chain(seen).chain(heard).collect()
    }

    async fn look_at_own(&self, sight: &mut Sight) -> Result<(), String> {
        let looked = self.count_letters(sight).await;
        looked.map_err(|error| sight.lose_own(&error))
    }

    /// Counts dead letters; and becomes the one that tells of parked rows, if that is to be told and nobody does.
    async fn count_letters(&self, sight: &mut Sight) -> Result<(), DatabaseError> {
        let own = match &mut sight.own {
            Some(own) => own,
            none => none.insert(connect(&self.own, "lookout").await?),
        };
        let mut counts: BTreeMap<String, i64> = sight.queues.iter().map(|queue| (queue.clone(), 0)).collect();
        let counted = own.query(include_str!("sql/count_letters.sql"), &[]);
        for row in within(Point::LettersCounted, counted).await? {
            counts.insert(row.try_get(0)?, row.try_get(1)?);
        }
        for (queue, count) in counts {
            show_letters(&queue, count as f64);
            sight.queues.insert(queue);
        }
        if self.correlate_by.is_some() && !sight.leads {
            let lock = "select pg_try_advisory_lock($1)";
            let locked = within(Point::LookoutLeads, own.query_one(lock, &[&LOCK])).await?;
            sight.leads = locked.try_get(0)?;
        }
        Ok(())
    }

    /// Tells what changed in the outboxes that could be looked at.
    async fn tell(&self, sight: &mut Sight, seen: &[Result<Vec<Parked>, String>]) -> Result<(), String> {
        let (Some(own), true) = (&sight.own, sight.leads) else {
            return Ok(());
        };
        let field = self.correlate_by.as_deref().unwrap_or_default();
        for (watched, seen) in sight.services.iter().zip(seen) {
            let Ok(parked) = seen else { continue };
            if let Err(error) = compare(own, &watched.service, field, parked).await {
                return Err(sight.lose_own(&error));
            }
        }
        Ok(())
    }
}

impl Sight {
    /// Drops the own connection, whose lock goes with it. What was shown must not stand for the present.
    fn lose_own(&mut self, error: &DatabaseError) -> String {
        (self.own, self.leads) = (None, false);
        self.queues.iter().for_each(|queue| show_letters(queue, f64::NAN));
        error.to_string()
    }
}

impl Watched {
    /// Shows what waits in the outbox. Gives the parked rows, if they are to be told of.
    async fn look(&mut self, field: Option<&str>) -> Result<Vec<Parked>, String> {
        let looked = self.count(field).await;
        looked.map_err(|error| {
            show_outbox(&self.service, [f64::NAN; 3]);
            self.lose(&error)
        })
    }

    async fn count(&mut self, field: Option<&str>) -> Result<Vec<Parked>, DatabaseError> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(connect(&self.config, "lookout").await?),
        };
        let waiting = Waiting::of(client, &self.service).await?;
        let (pending, parked_rows) = (waiting.pending as f64, waiting.parked as f64);
        show_outbox(&self.service, [pending, waiting.oldest_seconds, parked_rows]);
        match field {
            Some(field) => parked(client, &self.service, field).await,
            None => Ok(Vec::new()),
        }
    }

    /// Shows what the service says of itself, unless it could not be looked at before.
    async fn listen(&mut self) -> Result<(), String> {
        let Some(client) = self.client.as_ref().filter(|_| !self.is_silent) else {
            return Ok(());
        };
        match gauges(client, &self.service).await {
            Ok(Some(said)) => {
                said.iter().for_each(|gauge| gauge.show(gauge.value));
                self.said = said;
            }
            Ok(None) => self.is_silent = true,
            Err(error) => return Err(self.lose(&error)),
        }
        Ok(())
    }

    /// Drops the connection, and with it what the service said of itself.
    fn lose(&mut self, error: &DatabaseError) -> String {
        (self.client, self.is_silent) = (None, false);
        for gauge in self.said.drain(..) {
            gauge.show(f64::NAN);
        }
        format!("{}: {error}", self.service)
    }
}

fn show_letters(queue: &str, open: f64) {
    metrics::gauge!("bridge_dead_letters_open", "queue" => queue.to_owned()).set(open);
}

fn show_outbox(service: &str, [pending, oldest_seconds, parked]: [f64; 3]) {
    metrics::gauge!("bridge_outbox_pending", "service" => service.to_owned()).set(pending);
    metrics::gauge!("bridge_outbox_oldest_seconds", "service" => service.to_owned()).set(oldest_seconds);
    metrics::gauge!("bridge_outbox_parked", "service" => service.to_owned()).set(parked);
}

/// Connects, to look. A statement ends before we give it up: else every look at a table that is locked would leave one
/// behind that waits for it.
pub(crate) async fn connect(config: &tokio_postgres::Config, purpose: &str) -> Result<Client, DatabaseError> {
    // As for the relay: a walk along an index, whatever the planner thinks of a table that is nearly empty. And one
    // that was paused loses the lock, and finds that out by losing the session.
    let settings = "
        set enable_seqscan = off;
        set idle_session_timeout = '60s';
        set statement_timeout = '9s'";
    let client = database::connect(config, purpose).await?;
    within(Point::LookoutSet, client.batch_execute(settings)).await?;
    Ok(client)
}

/// What waits in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Waiting {
    /// Rows that are due, counted up to 10,001.
    pub pending: i64,
    /// For how long the oldest of them has been.
    pub oldest_seconds: f64,
    /// Rows that wait for an operator.
    pub parked: i64,
}

impl Waiting {
    pub(crate) async fn of(client: &Client, service: &str) -> Result<Self, DatabaseError> {
        let sql = in_schema(include_str!("sql/count_parked.sql"), service);
        let parked = within(Point::ParkedCounted, client.query_one(&sql, &[])).await?;
        let sql = in_schema(include_str!("sql/depth.sql"), service);
        let depth = within(Point::DepthCounted, client.query_one(&sql, &[])).await?;
        Ok(Self {
            pending: depth.try_get(0)?,
            oldest_seconds: depth.try_get(1)?,
            parked: parked.try_get(0)?,
        })
    }
}

/// What a service says of itself: the metric `<service>_<name>`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gauge {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Gauge {
    fn show(&self, value: f64) {
        let labels = self.labels.iter();
        let labels: Vec<metrics::Label> = labels
            .map(|(name, value)| metrics::Label::new(name.clone(), value.clone()))
            .collect();
        metrics::gauge!(self.name.clone(), labels).set(value);
    }
}

/// What a service says of itself, if that takes a second at the most: its view may read whatever it likes. `None` if it
/// has no such view. After an error the connection is of no use.
pub(crate) async fn gauges(client: &Client, service: &str) -> Result<Option<Vec<Gauge>>, DatabaseError> {
    let begin = "begin; set local statement_timeout = '1s'";
    within(Point::LookoutSet, client.batch_execute(begin)).await?;
    let sql = in_schema(include_str!("sql/gauges.sql"), service);
    let rows = match within(Point::GaugesRead, client.query(&sql, &[])).await {
        Ok(rows) => Some(rows),
        Err(DatabaseError::Postgres(error)) if is_absent(error.code()) => None,
        Err(error) => return Err(error),
    };
    within(Point::LookoutSet, client.batch_execute("rollback")).await?;
    let Some(rows) = rows else { return Ok(None) };
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
async fn compare(own: &Client, service: &str, field: &str, parked: &[Parked]) -> Result<(), DatabaseError> {
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
    use metrics::{Counter, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    /// What gauges show, by the name and the one label of each.
    #[derive(Default)]
    struct Shown(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Shown {
        fn all(&self) -> BTreeMap<String, f64> {
            let gauges = self.0.lock().unwrap();
            let value = |bits: &Arc<AtomicU64>| f64::from_bits(bits.load(Ordering::SeqCst));
            gauges
                .iter()
                .map(|(name, bits)| (name.clone(), value(bits)))
                .collect()
        }
    }

    impl Recorder for Shown {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
            let labels = key.labels().map(metrics::Label::value);
            let name: Vec<&str> = std::iter::once(key.name()).chain(labels).collect();
            let mut gauges = self.0.lock().unwrap();
            metrics::Gauge::from_arc(gauges.entry(name.join(" ")).or_default().clone())
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[tokio::test]
    async fn what_cannot_be_looked_at_shows_as_no_number() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let away: tokio_postgres::Config = format!("postgres://nobody@127.0.0.1:{port}/none")
            .parse()
            .unwrap();
        let lookout = Lookout {
            queues: vec!["q".to_owned()],
            outboxes: vec![
                ("ordering".to_owned(), None),
                ("payment".to_owned(), Some(away.clone())),
            ],
            own: away,
            correlate_by: Some("order_id".to_owned()),
            interval: Duration::from_secs(1),
            drain: CancellationToken::new(),
        };
        let shown = Shown::default();
        let _here = metrics::set_default_local_recorder(&shown);
        show_letters("q", 1.0);
        show_outbox("ordering", [2.0; 3]);
        show_outbox("payment", [3.0; 3]);
        let mut sight = lookout.sight();
        let gauge = Gauge {
            name: "ordering_orders".to_owned(),
            labels: BTreeMap::from([("status".to_owned(), "created".to_owned())]),
            value: 4.0,
        };
        gauge.show(gauge.value);
        sight.services[0].said.push(gauge);

        lookout.look(&mut sight).await.unwrap_err();
        let shown = shown.all();
        assert_eq!(shown.len(), 8);
        assert!(shown.values().all(|value| value.is_nan()), "{shown:?}");
    }

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
