//! One piece of work: when it began and ended, for whom, and what came of it.

use crate::context::Context;
use crate::exporter;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Which side of a call a span is (OpenTelemetry's `SpanKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// What an attribute may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// What is known of a span that is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) service: Arc<str>,
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: Kind,
    pub(crate) context: Context,
    /// The parent's id; 0 for the first span of a trace.
    pub(crate) parent: u64,
    pub(crate) started: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) links: Vec<Context>,
    pub(crate) failure: Option<String>,
}

/// A span that goes on until it is dropped. One whose trace is not sampled passes its parent's context on and records
/// nothing.
#[derive(Debug)]
pub struct Span {
    context: Option<Context>,
    open: Option<Box<(Record, Instant)>>,
}

impl Span {
    /// Nothing is recorded, and nothing passed on.
    pub const NONE: Span = Span {
        context: None,
        open: None,
    };

    /// Begins a span of `service`. Without a parent it is the first of its trace, and drawn lots for.
    #[must_use]
    pub fn begin(
        service: &Arc<str>,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        parent: Option<&Context>,
    ) -> Self {
        match exporter::ratio() {
            Some(ratio) => Self::begin_at(ratio, service, kind, name.into(), parent),
            None => Self::NONE,
        }
    }

    /// Begins the first span of a trace, recorded or not as the caller says.
    #[must_use]
    pub fn first(service: &Arc<str>, kind: Kind, name: impl Into<Cow<'static, str>>, sampled: bool) -> Self {
        match exporter::ratio() {
            Some(_) => Self::begin_at(f64::from(u8::from(sampled)), service, kind, name.into(), None),
            None => Self::NONE,
        }
    }

    /// A span within `parent`, if that is recorded; else nothing. For what is never the first of a trace.
    #[must_use]
    pub fn within(
        service: &Arc<str>,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        parent: Option<&Context>,
    ) -> Self {
        match parent {
            Some(parent) if parent.sampled => Self::begin(service, kind, name, Some(parent)),
            _ => Self::NONE,
        }
    }

    fn begin_at(
        ratio: f64,
        service: &Arc<str>,
        kind: Kind,
        name: Cow<'static, str>,
        parent: Option<&Context>,
    ) -> Self {
        let parent = parent.copied();
        let trace = parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace);
        let sampled = parent.map_or_else(|| fastrand::f64() < ratio, |parent| parent.sampled);
        if !sampled {
            let first = || Context {
                trace,
                span: fastrand::u64(1..),
                sampled,
            };
            return Self {
                context: Some(parent.unwrap_or_else(first)),
                open: None,
            };
        }
        let context = Context {
            trace,
            span: fastrand::u64(1..),
            sampled,
        };
        let started = SystemTime::now();
        let record = Record {
            service: Arc::clone(service),
            name,
            kind,
            context,
            parent: parent.map_or(0, |parent| parent.span),
            started,
            ended: started,
            attributes: Vec::new(),
            links: Vec::new(),
            failure: None,
        };
        Self {
            context: Some(context),
            open: Some(Box::new((record, Instant::now()))),
        }
    }

    /// What to pass on to whoever works within this span; `None` if tracing is off.
    #[must_use]
    pub fn context(&self) -> Option<Context> {
        self.context
    }

    /// Whether anything is recorded: what only an attribute needs is not worth computing otherwise.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.open.is_some()
    }

    /// Sets an attribute. Never a secret, a parameter of a statement, or a person's data.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.open {
            open.0.attributes.push((name, value.into()));
        }
    }

    /// Gives it another name, once it is known.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(open) = &mut self.open {
            open.0.name = name.into();
        }
    }

    /// Says that it has to do with something in another trace.
    pub fn link(&mut self, other: &Context) {
        if let Some(open) = &mut self.open {
            open.0.links.push(*other);
        }
    }

    /// Says that it failed, and of which kind the failure is.
    pub fn fail(&mut self, kind: impl Into<String>) {
        if let Some(open) = &mut self.open {
            let kind = kind.into();
            open.0.attributes.push(("error.type", kind.clone().into()));
            open.0.failure = Some(kind);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let (mut record, begun) = *open;
            // By the monotonic clock: a span never ends before it has begun.
            record.ended = record.started + begun.elapsed();
            exporter::submit(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(ratio: f64, parent: Option<&str>) -> Span {
        let parent = parent.map(|text| Context::parse(text).unwrap());
        let service = Arc::from("ordering");
        Span::begin_at(ratio, &service, Kind::Server, "POST".into(), parent.as_ref())
    }

    #[test]
    fn the_parent_decides_whether_a_span_is_recorded() {
        let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let span = begin(0.0, Some(sampled));
        assert!(span.is_recorded());
        let context = span.context().unwrap();
        assert!(context.shares_trace(&Context::parse(sampled).unwrap()));
        assert_ne!(context.to_string(), sampled);

        let not = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let span = begin(1.0, Some(not));
        assert!(!span.is_recorded());
        assert_eq!(span.context().unwrap().to_string(), not);
    }

    #[test]
    fn the_first_span_of_a_trace_is_recorded_as_often_as_asked() {
        assert!(begin(1.0, None).is_recorded());
        assert!(!begin(0.0, None).is_recorded());
        assert!(!begin(0.0, None).context().unwrap().is_sampled());
        let recorded = (0..10_000).filter(|_| begin(0.1, None).is_recorded()).count();
        assert!((700..1300).contains(&recorded), "{recorded} of 10,000");
    }

    #[test]
    fn without_an_exporter_nothing_is_passed_on() {
        let span = Span::begin(&Arc::from("a"), Kind::Server, "GET", None);
        assert_eq!(span.context(), None);
        assert!(!span.is_recorded());
    }
}
