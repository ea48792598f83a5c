//! The bridge's spans, by OpenTelemetry's conventions for messaging: one for each message that is published, until its
//! confirm is in, and one for each batch that a service is handed, until its answer is.
//!
//! A batch whose events are of one trace belongs to that trace. One of several traces is a trace of its own, with a link
//! to each event; and each of these has a span for it, with a link to the batch.

use crate::outbox::message::Message;
use crate::outbox::window::{Confirm, Window};
use crate::shuttle::line::Fault;
use crate::shuttle::text_header;
use event_batch::{BatchAnswer, Outcome};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, LongString, ShortString};
use spans::{Context, Kind, Span};
use std::sync::{Arc, LazyLock};

/// The header of a message that says which trace it belongs to.
const TRACEPARENT: &str = "traceparent";

static SERVICE: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("host-bridge"));

/// Where in which trace a message was published.
pub(crate) fn context_of(properties: &BasicProperties) -> Option<Context> {
    Context::parse(&text_header(properties, TRACEPARENT)?)
}

/// Begins the span of a message that is published to `exchange`.
pub(crate) fn publishes(exchange: &str, message: &Message) -> Span {
    let parent = spans::is_on().then(|| context_of(&message.properties)).flatten();
    let Some(parent) = parent.filter(Context::is_sampled) else {
        return Span::NONE;
    };
    let destination = format!("{exchange}:{}", message.routing_key.as_str());
    let name = format!("publish {destination}");
    let mut span = Span::begin(&SERVICE, Kind::Producer, name, Some(&parent));
    span.set("messaging.system", "rabbitmq");
    span.set("messaging.operation.name", "publish");
    span.set("messaging.operation.type", "send");
    span.set("messaging.destination.name", destination);
    span.set(
        "messaging.rabbitmq.destination.routing_key",
        message.routing_key.as_str().to_owned(),
    );
    if let Some(id) = message.properties.message_id() {
        span.set("messaging.message.id", id.as_str().to_owned());
    }
    span
}

/// The message's properties, so that its consumer sees where it was published.
pub(crate) fn published_within(span: &Span, properties: &BasicProperties) -> BasicProperties {
    let Some(context) = span.context().filter(|_| span.is_recorded()) else {
        return properties.clone();
    };
    let mut headers = properties.headers().clone().unwrap_or_default();
    let value = AMQPValue::LongString(LongString::from(context.to_string()));
    headers.insert(ShortString::from(TRACEPARENT), value);
    properties.clone().with_headers(headers)
}

/// What the broker said of each message of a window.
pub(crate) fn confirmed(spans: &mut [Span], window: &Window<Message>, confirms: &[Confirm]) {
    for (span, confirm) in spans.iter_mut().zip(confirms) {
        if !confirm.acked {
            span.fail("nack");
        }
    }
    // A return is told with whichever confirm came next.
    for returned in confirms.iter().filter_map(|confirm| confirm.returned.as_ref()) {
        let is_it = |message: &Message| {
            let id = message.properties.message_id().as_ref();
            id.map(ShortString::as_str) == returned.message_id.as_deref()
        };
        if let Some(span) = window
            .messages()
            .position(is_it)
            .and_then(|index| spans.get_mut(index))
        {
            span.fail("returned");
        }
    }
}

/// The spans of a batch that is handed over.
#[derive(Debug)]
pub(crate) struct Handover {
    batch: Span,
    each: Vec<(String, Span)>,
}

impl Handover {
    /// Begins them for events of `queue`: the id of each, and the message's properties.
    pub(crate) fn begin<'a>(
        queue: &str,
        events: impl ExactSizeIterator<Item = (&'a str, &'a BasicProperties)>,
    ) -> Self {
        let nothing = Self {
            batch: Span::NONE,
            each: Vec::new(),
        };
        if !spans::is_on() {
            return nothing;
        }
        let count = events.len();
        let events: Vec<(&str, Context)> = events
            .filter_map(|(id, properties)| Some((id, context_of(properties)?)))
            .collect();
        let Some((_, first)) = events.first() else {
            return nothing;
        };
        let is_one_trace = events.len() == count && events.iter().all(|(_, one)| one.shares_trace(first));
        let name = format!("process {queue}");
        let mut batch = match is_one_trace {
            true => Span::begin(&SERVICE, Kind::Consumer, name.clone(), Some(first)),
            false => {
                let sampled = events.iter().any(|(_, context)| context.is_sampled());
                Span::first(&SERVICE, Kind::Consumer, name.clone(), sampled)
            }
        };
        describe(&mut batch, queue);
        batch.set(
            "messaging.batch.message_count",
            i64::try_from(count).unwrap_or(i64::MAX),
        );
        let mut each = Vec::new();
        for (id, context) in &events {
            batch.link(context);
            if is_one_trace || !context.is_sampled() {
                continue;
            }
            let mut span = Span::begin(&SERVICE, Kind::Consumer, name.clone(), Some(context));
            describe(&mut span, queue);
            span.set("messaging.message.id", (*id).to_owned());
            if let Some(batch) = batch.context() {
                span.link(&batch);
            }
            each.push(((*id).to_owned(), span));
        }
        Self { batch, each }
    }

    /// What the service is to see; `None` if nothing is traced.
    pub(crate) fn context(&self) -> Option<Context> {
        self.batch.context()
    }

    /// Ends them with what the service said.
    pub(crate) fn end(mut self, answer: &Result<BatchAnswer, Fault>) {
        match answer {
            Err(Fault::Unavailable(_)) => self.fail_all("unavailable"),
            Err(Fault::Failed(_)) => self.fail_all("failed"),
            Ok(answer) => {
                let refused = |outcome| matches!(outcome, Outcome::Retry | Outcome::Rejected);
                for result in answer.results.iter().filter(|result| refused(result.outcome)) {
                    if let Some((_, span)) = self.each.iter_mut().find(|(id, _)| *id == result.id) {
                        span.fail(result.outcome.as_str());
                    }
                    if self.each.is_empty() {
                        self.batch.fail(result.outcome.as_str());
                        return;
                    }
                }
            }
        }
    }

    fn fail_all(&mut self, kind: &'static str) {
        self.batch.fail(kind);
        self.each.iter_mut().for_each(|(_, span)| span.fail(kind));
    }
}

fn describe(span: &mut Span, queue: &str) {
    span.set("messaging.system", "rabbitmq");
    span.set("messaging.operation.name", "process");
    span.set("messaging.operation.type", "process");
    span.set("messaging.destination.name", queue.to_owned());
}
