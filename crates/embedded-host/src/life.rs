//! Whether an instance lived until its answer was whole. An answer that has no length is over when its instance says so,
//! or when the instance is no more: only the first is a whole one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, WasiBody};

/// Travels with a request and its answer; the instance's end is noted in it, if it was no good one.
#[derive(Clone, Default)]
pub(crate) struct Life(Arc<AtomicBool>);

impl Life {
    /// The instance trapped, or was ended.
    pub(crate) fn cut_off(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_cut_off(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The answer, whose body breaks off if its instance did.
pub(crate) fn or_cut_off(mut response: Response<WasiBody>) -> Response<WasiBody> {
    match response.extensions_mut().remove::<Life>() {
        Some(life) => response.map(|body| Streamed { body, life }.boxed_unsync()),
        None => response,
    }
}

struct Streamed {
    body: WasiBody,
    life: Life,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) if self.life.is_cut_off() => {
                Poll::Ready(Some(Err(Error::HttpResponseIncomplete)))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
