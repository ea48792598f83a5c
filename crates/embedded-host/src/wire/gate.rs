//! The bytes of a connection on their way to hyper and back: hyper reads what [`Framing`] lets go on. What it does not
//! let go on, and how far the connection has come, is kept in a [`Gate`], which the connection's task looks at.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::Patience;
use super::framing::{Framing, Progress, Refused};
use crate::problem::Problem;

/// How often it is looked at a connection, at most.
const SHORTEST: Duration = Duration::from_millis(1);

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has come yet.
    Fresh,
    /// A head is arriving.
    Head,
    /// A request is being worked on, its body included.
    Working,
    /// The last request was answered; the answer may still be on its way.
    Answered,
}

/// What the task of a connection is to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again then.
    GoOn(Instant),
    /// The client took too long over a head: it is told.
    Late,
    /// Nothing moves: it is ended without a word.
    Idle,
}

/// What is known of a connection, for the task that serves it.
pub(super) struct Gate(Mutex<State>);

struct State {
    stage: Stage,
    /// When the stage began; in [`Stage::Answered`], when something was written last.
    since: Instant,
    /// What the client is to be told before the connection ends.
    refusal: Option<Problem>,
    /// The last request's body was not read to its end.
    unread: bool,
    /// Since when the client takes no more of an answer.
    stalled: Option<Instant>,
    /// Who waits for the answer, with bytes of the next request.
    waiting: Option<Waker>,
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate(Mutex::new(State {
            stage: Stage::Fresh,
            since: Instant::now(),
            refusal: None,
            unread: false,
            stalled: None,
            waiting: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the client is to be told before the connection ends, if it is to end so.
    pub(super) fn refusal(&self) -> Option<Problem> {
        self.lock().refusal
    }

    /// The connection is to end with this.
    pub(super) fn refuse(&self, problem: Problem) {
        self.lock().refusal.get_or_insert(problem);
    }

    /// The body of the request that is being worked on was given up.
    pub(super) fn left_unread(&self) {
        self.lock().unread = true;
    }

    /// Whether a body was given up: nothing can follow on this connection.
    pub(super) fn is_unread(&self) -> bool {
        self.lock().unread
    }

    /// The request was answered: the next one may begin.
    pub(super) fn answered(&self) {
        let waiting = {
            let mut state = self.lock();
            state.stage = Stage::Answered;
            state.since = Instant::now();
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// What a client has time for.
    pub(super) fn judge(&self, now: Instant, patience: &Patience) -> Verdict {
        let state = self.lock();
        // Often enough for whatever begins meanwhile.
        let look_again = now + patience.head.min(patience.idle).max(SHORTEST);
        let (deadline, verdict) = match (state.stalled, state.stage) {
            (Some(since), _) => (since + patience.idle, Verdict::Idle),
            (None, Stage::Working) => return Verdict::GoOn(look_again),
            (None, Stage::Fresh) => (state.since + patience.head, Verdict::Idle),
            (None, Stage::Head) => (state.since + patience.head, Verdict::Late),
            (None, Stage::Answered) => (state.since + patience.idle, Verdict::Idle),
        };
        match deadline <= now {
            true => verdict,
            false => Verdict::GoOn(deadline.min(look_again)),
        }
    }
}

impl State {
    fn is_working(&self) -> bool {
        self.stage == Stage::Working
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}

/// A stream behind its gate.
pub(super) struct Gated<S> {
    stream: S,
    gate: Arc<Gate>,
    framing: Framing,
    /// The client sends no more.
    ended: bool,
}

impl<S> Gated<S> {
    pub(super) fn new(stream: S, gate: Arc<Gate>, framing: Framing) -> Gated<S> {
        Gated {
            stream,
            gate,
            framing,
            ended: false,
        }
    }

    /// The stream, and whether the client may still be sending something that nobody will read.
    pub(super) fn into_parts(self) -> (S, bool) {
        let is_clean = self.framing.is_between_requests() && self.framing.is_empty();
        (self.stream, !self.ended && !is_clean)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gated = self.get_mut();
        loop {
            let approved = gated.framing.approved();
            if !approved.is_empty() {
                let length = approved.len().min(buffer.remaining());
                buffer.put_slice(approved.get(..length).unwrap_or_default());
                gated.framing.handed_on(length);
                return Poll::Ready(Ok(()));
            }
            let may_begin = {
                let state = gated.gate.lock();
                if state.refusal.is_some() {
                    // The connection's task ends it.
                    return Poll::Pending;
                }
                !state.is_working()
            };
            match gated.framing.advance(may_begin) {
                Ok(Progress::Begun) => {
                    gated.gate.lock().enter(Stage::Working);
                    continue;
                }
                Ok(Progress::Waits) if !gated.framing.approved().is_empty() => continue,
                Ok(Progress::Waits) => {}
                Err(Refused::Head(problem)) => {
                    gated.gate.refuse(problem);
                    return Poll::Pending;
                }
                // hyper tells whoever reads the body.
                Err(Refused::Body) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            let is_next_waiting =
                !may_begin && gated.framing.is_between_requests() && !gated.framing.is_empty();
            if is_next_waiting && (gated.ended || gated.framing.is_full()) {
                gated.gate.lock().waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if gated.ended {
                return Poll::Ready(Ok(()));
            }
            gated.framing.make_room();
            let reading = pin!(gated.stream.read_buf(gated.framing.arriving()));
            match reading.poll(cx) {
                Poll::Ready(Ok(0)) => gated.ended = true,
                Poll::Ready(Ok(_)) => {
                    let mut state = gated.gate.lock();
                    if matches!(state.stage, Stage::Fresh | Stage::Answered) {
                        state.enter(Stage::Head);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if is_next_waiting {
                        gated.gate.lock().waiting = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S> Gated<S> {
    /// Notes whether the client takes what is written.
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        let mut state = self.gate.lock();
        if written.is_pending() {
            state.stalled.get_or_insert_with(Instant::now);
        } else {
            state.stalled = None;
            if state.stage == Stage::Answered {
                state.since = Instant::now();
            }
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gated = self.get_mut();
        let written = Pin::new(&mut gated.stream).poll_write(cx, bytes);
        gated.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gated = self.get_mut();
        let written = Pin::new(&mut gated.stream).poll_write_vectored(cx, slices);
        gated.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// hyper has said all that it has to say; the connection's task may have more.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
