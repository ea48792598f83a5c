//! The shuttle: from one queue of the broker to the service that it feeds (R6). What lives here is the order
//! of the steps; what goes together and what an answer means is `line`'s.

mod bury;
pub mod line;
pub(crate) mod post;

use crate::backoff::{Backoff, Condition};
use crate::broker::Broker;
use crate::metrics::FAILED;
use crate::outbox::message::ORDERING_KEY;
use crate::topology::Queue;
use crate::trace::{Handover, context_of};
use bury::{Burial, Burier};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use crash_points::{Point, reached, through};
use event_batch::{BatchAnswer, Outcome};
use futures::future::{BoxFuture, FutureExt, try_join_all};
use futures::stream::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer};
use line::{Arrival, Fault, Line, LineSettings, Settled, Step, Tag};
use post::Services;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

const REOPEN: Backoff = Backoff {
    first: Duration::from_millis(100),
    most: Duration::from_secs(2),
};
/// How long the broker may take to answer anything but a publish.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);
/// So many event types of a queue are told apart on `/metrics`.
const MOST_TYPES: usize = 32;

/// How the shuttle goes about it.
#[derive(Clone, Copy, Debug)]
pub struct ShuttleSettings {
    /// The most deliveries of a queue that are in memory at a time. One that stays there for half an hour unacknowledged,
    /// because its service goes on answering `retry`, makes the broker end the channel and deliver all of them again.
    pub prefetch: u16,
    pub line: LineSettings,
}

impl Default for ShuttleSettings {
    fn default() -> Self {
        Self {
            prefetch: 400,
            line: LineSettings::for_prefetch(400),
        }
    }
}

/// The shuttle of one queue.
pub(crate) struct Shuttle {
    pub(crate) queue: Queue,
    /// The exchange of dead letters.
    pub(crate) dead_letters: String,
    /// Consumes. Apart from what publishes: a broker short of memory stops reading from publishers, acks included.
    pub(crate) consumers: Broker,
    pub(crate) publishers: Broker,
    pub(crate) services: Services,
    pub(crate) settings: ShuttleSettings,
    /// The relay of the service that is fed: what it has handled likely left something in its outbox.
    pub(crate) outbox: Option<Arc<Notify>>,
    pub(crate) drain: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("RabbitMQ: {0}")]
    Lost(#[from] lapin::Error),
    #[error("RabbitMQ did not answer within {} s", BROKER_PATIENCE.as_secs())]
    Silent,
    #[error("RabbitMQ ended the consumer")]
    Cancelled,
}

impl Shuttle {
    /// Shuttles until it is drained: the batch that is with the service is finished, no new one is begun.
    pub(crate) async fn run(self) {
        let mut condition = Condition::new(format!("consumer of {}", self.queue.name));
        let mut random = fastrand::Rng::new();
        while let Err(trouble) = self.watch(&mut condition).await {
            // Everything in memory is dropped with the channel: the broker delivers it again.
            let failures = condition.down(&trouble.to_string());
            tokio::select! {
                () = sleep(REOPEN.after(failures, &mut random)) => {}
                () = self.drain.cancelled() => return,
            }
        }
    }

    /// From opening a channel until it is lost, or drained (`Ok`).
    async fn watch(&self, condition: &mut Condition) -> Result<(), Trouble> {
        let (channel, consumer) = tokio::select! {
            opened = self.open() => opened?,
            () = self.drain.cancelled() => return Ok(()),
        };
        condition.up();
        let watch = Watch::new(self, channel, consumer.tag());
        watch.serve(consumer).await
    }

    async fn open(&self) -> Result<(Channel, Consumer), Trouble> {
        let channel = self.consumers.channel().await;
        let bounded = channel.basic_qos(self.settings.prefetch, BasicQosOptions::default());
        within(Point::ShuttleBounded, bounded).await?;
        let queue = ShortString::try_new(self.queue.name.as_str());
        let queue = queue.map_err(|error| lapin::Error::from(std::io::Error::other(error)))?;
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(queue, ShortString::default(), options, FieldTable::default());
        let consumer = within(Point::ShuttleConsuming, consume).await?;
        Ok((channel, consumer))
    }

    fn count(&self, outcome: &'static str) {
        let queue = self.queue.name.clone();
        metrics::counter!("bridge_delivered_total", "queue" => queue, "outcome" => outcome).increment(1);
    }
}

async fn within<T>(point: Point, answer: impl Future<Output = lapin::Result<T>>) -> Result<T, Trouble> {
    Ok(timeout(BROKER_PATIENCE, through(point, answer))
        .await
        .map_err(|_| Trouble::Silent)??)
}

/// A delivery that is not acknowledged yet.
struct Kept {
    id: String,
    body: Bytes,
    properties: BasicProperties,
    routing_key: String,
    /// When it happened, if it says so.
    occurred: Option<DateTime<Utc>>,
}

type Posting = BoxFuture<'static, Result<BatchAnswer, Fault>>;
type Burying = BoxFuture<'static, (Burier, Tag)>;

/// The state of one channel's time.
struct Watch<'a> {
    shuttle: &'a Shuttle,
    channel: Channel,
    consumer_tag: ShortString,
    line: Line,
    kept: HashMap<Tag, Kept>,
    newest: Tag,
    posting: Option<Posting>,
    asking: Option<BoxFuture<'static, bool>>,
    to_bury: VecDeque<Burial>,
    burying: Option<Burying>,
    burier: Option<Burier>,
    service: Condition,
    /// The event types that were seen.
    types: BTreeSet<String>,
    draining: bool,
}

impl<'a> Watch<'a> {
    fn new(shuttle: &'a Shuttle, channel: Channel, consumer_tag: ShortString) -> Self {
        let burier = Burier::new(shuttle.publishers.clone(), shuttle.dead_letters.clone());
        Self {
            shuttle,
            channel,
            consumer_tag,
            line: Line::new(shuttle.settings.line, fastrand::u64(..)),
            kept: HashMap::new(),
            newest: 0,
            posting: None,
            asking: None,
            to_bury: VecDeque::new(),
            burying: None,
            burier: Some(burier),
            service: Condition::new(format!(
                "service {}, fed by {}",
                shuttle.queue.service, shuttle.queue.name
            )),
            types: BTreeSet::new(),
            draining: false,
        }
    }

    async fn serve(mut self, mut consumer: Consumer) -> Result<(), Trouble> {
        loop {
            let wake = self.begin();
            if self.draining && self.posting.is_none() && self.burying.is_none() && self.to_bury.is_empty() {
                return self.leave().await;
            }
            tokio::select! {
                delivery = consumer.next(), if !self.draining => {
                    self.accept(delivery.ok_or(Trouble::Cancelled)??);
                    // Those that have arrived with it may go in the same batch.
                    while let Some(more) = consumer.next().now_or_never() {
                        self.accept(more.ok_or(Trouble::Cancelled)??);
                    }
                }
                answer = wait(&mut self.posting) => {
                    self.posting = None;
                    self.answered(answer).await?;
                }
                healthy = wait(&mut self.asking) => {
                    self.asking = None;
                    let settled = self.line.health(healthy, Instant::now());
                    self.settle(settled).await?;
                }
                (burier, tag) = wait(&mut self.burying) => {
                    self.burying = None;
                    self.burier = Some(burier);
                    let settled = self.line.buried(tag);
                    self.settle(vec![settled]).await?;
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {}
                () = self.shuttle.drain.cancelled(), if !self.draining => self.draining = true,
            }
        }
    }

    /// Begins what can be begun now. Returns when to look again if nothing happens before.
    fn begin(&mut self) -> Option<Instant> {
        if self.burying.is_none()
            && !self.to_bury.is_empty()
            && let (Some(burial), Some(burier)) = (self.to_bury.pop_front(), self.burier.take())
        {
            self.burying = Some(Box::pin(burier.bury(burial)));
        }
        if self.draining || self.asking.is_some() {
            return None;
        }
        let step = self.line.next(Instant::now());
        let paused = f64::from(u8::from(self.line.is_paused()));
        metrics::gauge!("bridge_queue_paused", "queue" => self.shuttle.queue.name.clone()).set(paused);
        let (services, service) = (self.shuttle.services.clone(), self.shuttle.queue.service.clone());
        match step {
            Step::Post(tags) => {
                let kept: Vec<&Kept> = tags.iter().filter_map(|tag| self.kept.get(tag)).collect();
                let events: Vec<Bytes> = kept.iter().map(|kept| kept.body.clone()).collect();
                let handover = Handover::begin(
                    &self.shuttle.queue.name,
                    kept.iter().map(|kept| (kept.id.as_str(), &kept.properties)),
                );
                self.posting = Some(Box::pin(async move {
                    let answer = services.post(&service, &events, handover.context()).await;
                    handover.end(&answer);
                    answer
                }));
                None
            }
            Step::AskHealth => {
                self.asking = Some(Box::pin(async move { services.is_healthy(&service).await }));
                None
            }
            Step::WaitUntil(until) => Some(until),
            Step::Wait => None,
        }
    }

    fn accept(&mut self, delivery: Delivery) {
        reached(Point::ShuttleDelivered);
        let tag = delivery.delivery_tag;
        self.newest = tag;
        if delivery.redelivered {
            let queue = self.shuttle.queue.name.clone();
            metrics::counter!("bridge_redelivered_total", "queue" => queue).increment(1);
        }
        let envelope = envelope(&delivery.data);
        let key = text_header(&delivery.properties, ORDERING_KEY);
        let mut kept = Kept {
            id: String::new(),
            body: Bytes::from(delivery.data),
            properties: delivery.properties,
            routing_key: delivery.routing_key.as_str().to_owned(),
            occurred: None,
        };
        match envelope {
            Ok((id, occurred)) => {
                kept.id.clone_from(&id);
                kept.occurred = occurred;
                // Without a key of its own it is in order with nothing.
                let key = key.unwrap_or_else(|| format!("event:{id}"));
                self.line.deliver(Arrival {
                    tag,
                    event_id: id,
                    key,
                    bytes: kept.body.len(),
                });
                self.kept.insert(tag, kept);
            }
            Err(reason) => {
                self.line.deliver_dead(tag);
                self.kept.insert(tag, kept);
                self.bury(tag, reason);
            }
        }
    }

    async fn answered(&mut self, answer: Result<BatchAnswer, Fault>) -> Result<(), Trouble> {
        let now = Instant::now();
        let settled = match answer {
            Ok(answer) => {
                self.service.up();
                for result in &answer.results {
                    self.shuttle.count(result.outcome.as_str());
                }
                if answer
                    .results
                    .iter()
                    .any(|result| result.outcome == Outcome::Processed)
                {
                    self.shuttle.outbox.iter().for_each(|outbox| outbox.notify_one());
                }
                let outcomes = answer.results.into_iter();
                let outcomes = outcomes
                    .map(|result| (result.id, (result.outcome, result.reason)))
                    .collect();
                let settled = self.line.answered(&outcomes, now);
                for kept in processed(&settled, &self.kept, &outcomes) {
                    measure(&self.shuttle.queue.name, &mut self.types, kept);
                }
                settled
            }
            Err(fault) => {
                let (Fault::Unavailable(reason) | Fault::Failed(reason)) = &fault;
                // What follows the status, or the kind of failure, differs from one answer to the next.
                self.service
                    .down_as(reason.split(": ").next().unwrap_or(reason), reason);
                self.shuttle.count(FAILED);
                self.line.failed(fault, now);
                Vec::new()
            }
        };
        self.settle(settled).await
    }

    async fn settle(&mut self, settled: Vec<Settled>) -> Result<(), Trouble> {
        let mut acked = Vec::with_capacity(settled.len());
        for one in settled {
            match one {
                Settled::Ack(tag) => {
                    self.kept.remove(&tag);
                    acked.push(tag);
                }
                Settled::Dead(tag, reason) => self.bury(tag, reason),
            }
        }
        let acks = acks(&acked, self.line.oldest(), self.newest);
        let sends = acks
            .into_iter()
            .map(|(tag, multiple)| self.channel.basic_ack(tag, BasicAckOptions { multiple }));
        within(Point::ShuttleAcknowledged, try_join_all(sends))
            .await
            .map(drop)
    }

    fn bury(&mut self, tag: Tag, reason: String) {
        let Some(kept) = self.kept.get(&tag) else { return };
        let (queue, service) = (&self.shuttle.queue.name, &self.shuttle.queue.service);
        let trace_id = context_of(&kept.properties).map(|context| context.trace_id());
        warn!(
            queue,
            service,
            trace_id,
            event_id = kept.id,
            routing_key = kept.routing_key,
            reason,
            "dead letter"
        );
        metrics::counter!("bridge_dead_letters_total", "queue" => queue.clone()).increment(1);
        let burial = Burial::new(
            tag,
            queue,
            kept.body.clone(),
            &kept.properties,
            &kept.routing_key,
            &reason,
        );
        match burial {
            Ok(burial) => self.to_bury.push_back(burial),
            // Only a topology with a name that AMQP cannot carry, which is checked when it is read.
            Err(error) => error!(queue, %error, "a dead letter cannot be written; it stays in its queue"),
        }
    }

    /// What is done is acknowledged already: now the consumer is cancelled, and what it had in hand goes back.
    async fn leave(self) -> Result<(), Trouble> {
        let cancel = self
            .channel
            .basic_cancel(self.consumer_tag.clone(), BasicCancelOptions::default());
        within(Point::ShuttleCancelled, cancel).await?;
        let closed = self.channel.close(200, ShortString::from("drained"));
        within(Point::ShuttleClosed, closed).await
    }
}

/// Of the deliveries that an answer settled, those that it says were handled now. A duplicate was handled earlier: how
/// long ago its event happened is no time that a step took.
fn processed<'a>(
    settled: &[Settled],
    kept: &'a HashMap<Tag, Kept>,
    outcomes: &HashMap<String, (Outcome, Option<String>)>,
) -> Vec<&'a Kept> {
    let acked = settled.iter().filter_map(|one| match one {
        Settled::Ack(tag) => kept.get(tag),
        Settled::Dead(..) => None,
    });
    let is_processed = |kept: &&Kept| matches!(outcomes.get(&kept.id), Some((Outcome::Processed, _)));
    acked.filter(is_processed).collect()
}

/// How long this step took: from what its event tells of until that is handled.
fn measure(queue: &str, types: &mut BTreeSet<String>, kept: &Kept) {
    let (Some(occurred), Some(kind)) = (kept.occurred, kept.properties.kind()) else {
        return;
    };
    let kind = kind.as_str();
    if !types.contains(kind) && types.len() < MOST_TYPES {
        types.insert(kind.to_owned());
    }
    let kind = types.get(kind).map_or("other", String::as_str).to_owned();
    let took = (Utc::now() - occurred).to_std().unwrap_or_default();
    metrics::histogram!("bridge_step_seconds", "queue" => queue.to_owned(), "type" => kind).record(took);
}

/// What is under way, if anything is; otherwise this never ends.
async fn wait<T>(under_way: &mut Option<BoxFuture<'static, T>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The fewest acknowledgements that say it: one for all those before the oldest delivery that is not settled, then one
/// for each of the others.
fn acks(acked: &[Tag], oldest: Option<Tag>, newest: Tag) -> Vec<(Tag, bool)> {
    let floor = oldest.unwrap_or(newest + 1);
    let all_before = acked.iter().copied().filter(|tag| *tag < floor).max();
    let others = acked.iter().copied().filter(|tag| *tag > floor);
    all_before
        .map(|tag| (tag, true))
        .into_iter()
        .chain(others.map(|tag| (tag, false)))
        .collect()
}

/// The id of the event in a message's body, and when it happened.
fn envelope(body: &[u8]) -> Result<(String, Option<DateTime<Utc>>), String> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// Of any shape: what it should be is the service's to say.
        #[serde(default)]
        time: Option<serde_json::Value>,
    }
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    if !text.trim_start().starts_with('{') {
        // serde would take an array for a struct as well.
        return Err("the body is not a JSON object".to_owned());
    }
    let envelope: Envelope =
        serde_json::from_str(text).map_err(|error| format!("the body is not an event: {error}"))?;
    if envelope.id.is_empty() {
        return Err("the event's id is empty".to_owned());
    }
    let time = envelope.time.as_ref().and_then(serde_json::Value::as_str);
    let occurred = time.and_then(|time| DateTime::parse_from_rfc3339(time).ok());
    Ok((envelope.id.into_owned(), occurred.map(|time| time.to_utc())))
}

/// A header that is a string.
pub(crate) fn text_header(properties: &BasicProperties, name: &str) -> Option<String> {
    let value = properties.headers().as_ref()?.inner().get(name)?;
    let text = value.as_long_string()?;
    std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_acknowledgement_covers_all_before_the_oldest_that_is_not_settled() {
        assert_eq!(acks(&[1, 2, 3], None, 3), [(3, true)]);
        assert_eq!(
            acks(&[1, 2, 5, 6], Some(4), 9),
            [(2, true), (5, false), (6, false)]
        );
        assert_eq!(acks(&[7], Some(4), 9), [(7, false)]);
        assert_eq!(acks(&[], None, 9), []);
    }

    #[test]
    fn a_step_is_measured_once_by_the_delivery_that_was_handled() {
        let kept = |id: &str| Kept {
            id: id.to_owned(),
            body: Bytes::new(),
            properties: BasicProperties::default(),
            routing_key: String::new(),
            occurred: None,
        };
        let all = HashMap::from([(1, kept("a")), (2, kept("b")), (3, kept("c"))]);
        let outcomes = HashMap::from([
            ("a".to_owned(), (Outcome::Processed, None)),
            ("b".to_owned(), (Outcome::Duplicate, None)),
            ("c".to_owned(), (Outcome::Rejected, None)),
        ]);
        let settled = [
            Settled::Ack(1),
            Settled::Ack(2),
            Settled::Dead(3, "no".to_owned()),
        ];
        let measured: Vec<&str> = processed(&settled, &all, &outcomes)
            .iter()
            .map(|kept| kept.id.as_str())
            .collect();
        assert_eq!(measured, ["a"]);
    }

    #[test]
    fn only_an_object_with_an_id_is_an_event() {
        assert_eq!(
            envelope(br#" {"type": "x", "id": "a\u0062", "time": 7}"#),
            Ok(("ab".to_owned(), None))
        );
        let (_, occurred) = envelope(br#"{"id": "a", "time": "2026-01-31T12:00:00.5Z"}"#).unwrap();
        assert_eq!(occurred.unwrap().timestamp_millis(), 1_769_860_800_500);
        for body in [
            &b"[\"a\"]"[..],
            b"\"a\"",
            b"{}",
            b"{\"id\": 1}",
            b"{\"id\": \"\"}",
            b"{\"id\": \"a\"} x",
            b"\xff",
            b"",
        ] {
            assert!(envelope(body).is_err(), "{body:?}");
        }
    }
}
