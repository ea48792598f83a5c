//! How much memory the bodies of a component's requests may take together. A body is read before an instance is asked for,
//! and nobody else counts what has come of it: many clients that send slowly would have all the memory there is.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The bytes of all bodies that there may be at a time.
pub(crate) struct Bodies {
    left: AtomicU64,
}

/// There are as many already.
#[derive(Debug, thiserror::Error)]
#[error("the bodies of other requests take all the memory")]
pub(crate) struct NoRoom;

impl Bodies {
    pub(crate) fn new(max_bytes: u64) -> Bodies {
        Bodies {
            left: AtomicU64::new(max_bytes),
        }
    }

    /// Room for one body, which grows with it and is given back with this value.
    pub(crate) fn room(&self) -> Room<'_> {
        Room {
            bodies: self,
            taken: AtomicU64::new(0),
        }
    }
}

/// What one body takes.
pub(crate) struct Room<'a> {
    bodies: &'a Bodies,
    taken: AtomicU64,
}

impl<'a> Room<'a> {
    /// The same body, which ends with [`NoRoom`] where it finds none.
    pub(crate) fn hold<B: Body>(&'a self, body: B) -> Held<'a, B> {
        Held {
            room: self,
            body: Box::pin(body),
        }
    }

    fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let left = &self.bodies.left;
        left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            left.checked_sub(bytes)
        })
        .map_err(|_| NoRoom)?;
        self.taken.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let taken = *self.taken.get_mut();
        self.bodies.left.fetch_add(taken, Ordering::AcqRel);
    }
}

/// A body that counts.
pub(crate) struct Held<'a, B> {
    room: &'a Room<'a>,
    body: Pin<Box<B>>,
}

impl<B> Body for Held<'_, B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = self.body.as_mut().poll_frame(cx);
        polled.map(|next| {
            next.map(|frame| {
                let frame = frame.map_err(Into::into)?;
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.room.take(bytes as u64)?;
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    async fn held(room: &Room<'_>, bytes: usize) -> bool {
        let body = Full::new(Bytes::from(vec![0; bytes]));
        room.hold(body).collect().await.is_ok()
    }

    #[tokio::test]
    async fn so_many_bytes_are_held_and_are_free_again_afterwards() {
        let bodies = Bodies::new(100);
        let (one, other) = (bodies.room(), bodies.room());
        assert!(held(&one, 60).await);
        assert!(!held(&other, 41).await);
        assert!(held(&other, 40).await);
        drop(one);
        assert!(held(&other, 60).await, "60 were given back");
        drop(other);
        assert!(held(&bodies.room(), 100).await);
    }
}
