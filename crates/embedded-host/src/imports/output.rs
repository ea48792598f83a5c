//! What guests print: whole lines, to the process' stderr, so that lines of several instances never mix. Each comes out
//! as one JSON object that says whose it is, whatever the guest wrote: its own log lines, or the words of a panic.

use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// A longer line is cut here.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Standard output or error of one instance: what is written since the last end of a line.
#[derive(Clone)]
pub(crate) struct Lines {
    component: Arc<str>,
    rest: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    pub(crate) fn of(component: &Arc<str>) -> Lines {
        Lines {
            component: Arc::clone(component),
            rest: Arc::default(),
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.extend_from_slice(bytes);
        let whole = match rest.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if rest.len() >= MAX_LINE_BYTES => {
                rest.push(b'\n');
                rest.len()
            }
            None => return,
        };
        let lines = rest.get(..whole).unwrap_or_default();
        let mut shaped = Vec::with_capacity(lines.len() + 64);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            shaped.extend_from_slice(shape(&self.component, line).as_bytes());
            shaped.push(b'\n');
        }
        // Nobody could be told that stderr is gone.
        let _ = std::io::stderr().lock().write_all(&shaped);
        rest.drain(..whole);
    }
}

/// A line in the one shape that all logs have. What is no log line was not meant to be written: a panic, mostly.
fn shape(component: &str, line: &[u8]) -> String {
    let mut object = match serde_json::from_slice(line) {
        Ok(Value::Object(object)) if object.contains_key("message") => object,
        _ => {
            let mut object = Map::new();
            object.insert(
                "timestamp".to_owned(),
                Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true).into(),
            );
            object.insert("level".to_owned(), "ERROR".into());
            object.insert("message".to_owned(), String::from_utf8_lossy(line).into());
            object
        }
    };
    object.insert("service".to_owned(), component.into());
    Value::Object(object).to_string()
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Lines::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaped(line: &str) -> Value {
        serde_json::from_str(&shape("ordering", line.as_bytes())).unwrap()
    }

    #[test]
    fn a_log_line_says_whose_it_is() {
        let line = shaped(r#"{"timestamp":"t","level":"WARN","message":"late","service":"auth"}"#);
        let expected = serde_json::json!({
            "timestamp": "t", "level": "WARN", "message": "late", "service": "ordering",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn whatever_else_a_guest_prints_becomes_a_log_line() {
        for text in [
            "thread 'main' panicked at src/lib.rs",
            "[1]",
            "{\"a\": 1}",
            "\u{1}",
        ] {
            let line = shaped(text);
            assert_eq!(line["message"], text);
            assert_eq!(
                (&line["level"], &line["service"]),
                (&"ERROR".into(), &"ordering".into())
            );
            assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        }
    }
}
