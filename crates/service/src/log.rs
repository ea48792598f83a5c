//! Log lines: one JSON object a line on standard error, which every host collects. A line that is written while a request
//! is worked on says of which trace that is.

use serde_json::{Map, Value};
use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

thread_local! {
    /// The trace of the request that is being worked on right now. Others of the instance take turns with it.
    static TRACE_ID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has the lines that are written while `work` is at it name its trace.
pub async fn within<F: Future>(trace_id: &str, work: F) -> F::Output {
    let mut work = pin!(work);
    let mut trace_id = Some(trace_id.to_owned());
    std::future::poll_fn(|context| turn(&mut trace_id, work.as_mut(), context)).await
}

fn turn<F: Future>(
    trace_id: &mut Option<String>,
    work: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<F::Output> {
    let swap = |trace_id: &mut Option<String>| TRACE_ID.with_borrow_mut(|now| std::mem::swap(now, trace_id));
    swap(trace_id);
    let polled = work.poll(context);
    swap(trace_id);
    polled
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// Writes one line. `fields` hold what identifies the thing that happened; never a secret, never a person's data.
pub fn line(level: Level, message: &str, fields: &[(&str, &str)]) {
    eprintln!("{}", Value::Object(object(level, message, fields)));
}

fn object(level: Level, message: &str, fields: &[(&str, &str)]) -> Map<String, Value> {
    let level = match level {
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let mut object = Map::new();
    object.insert(
        "timestamp".to_owned(),
        contracts::Timestamp::now().to_string().into(),
    );
    object.insert("level".to_owned(), level.into());
    object.insert("message".to_owned(), message.into());
    if let Some(trace_id) = TRACE_ID.with_borrow(Clone::clone) {
        object.insert("trace_id".to_owned(), trace_id.into());
    }
    for (name, value) in fields {
        object.insert((*name).to_owned(), (*value).into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::future::join;

    fn trace_id() -> Value {
        object(Level::Warn, "late", &[("path", "/orders")])
            .remove("trace_id")
            .unwrap_or_default()
    }

    #[test]
    fn a_line_names_the_trace_of_the_request_that_it_was_written_for() {
        let request = async |trace: &str| {
            within(trace, async {
                assert_eq!(trace_id(), trace);
                let mut first = true;
                // Gives way once, so that both requests are under way.
                std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    match std::mem::take(&mut first) {
                        true => Poll::Pending,
                        false => Poll::Ready(()),
                    }
                })
                .await;
                assert_eq!(trace_id(), trace);
            })
            .await;
        };
        block_on(join(request("a"), request("b")));
        assert_eq!(trace_id(), Value::Null);
    }
}
