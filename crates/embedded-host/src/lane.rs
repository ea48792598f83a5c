//! How guests that compute share the processors with everything else. A guest gives way at each tick of the epoch
//! clock, but the runtime would go round among many such guests without looking at its sockets. So a worker whose
//! guest computes needs one of a few permits for each tick, and stands back until the runtime has looked.

use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// The permits, shared by all workers of a host.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<Semaphore>);

impl Lanes {
    /// As many guests may compute side by side as there are processors.
    pub(crate) fn new() -> Lanes {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Lanes(Arc::new(Semaphore::new(processors)))
    }

    pub(crate) fn lane(&self) -> Lane {
        Lane(PollSemaphore::new(Arc::clone(&self.0)))
    }
}

/// One worker's access to the permits.
pub(crate) struct Lane(PollSemaphore);

impl Lane {
    /// A permit for one tick; first come, first served.
    pub(crate) fn poll_enter(&mut self, cx: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        self.0.poll_acquire(cx)
    }
}

/// Wakes the task after the runtime has looked at everything else, its sockets included.
pub(crate) fn stand_back(cx: &mut Context<'_>) {
    // Polled once, it has arranged for the wake-up; that it is dropped then changes nothing.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// The waker that a worker's instance is polled with. It tells a wake-up during the poll, which is how a guest
/// gives way, from one that comes later.
pub(crate) struct Bell {
    task: Mutex<Waker>,
    state: AtomicU8,
}

const QUIET: u8 = 0;
const POLLING: u8 = 1;
const RUNG: u8 = 2;

impl Bell {
    pub(crate) fn new() -> Arc<Bell> {
        Arc::new(Bell {
            task: Mutex::new(Waker::noop().clone()),
            state: AtomicU8::new(QUIET),
        })
    }

    /// The poll begins. Until its end a wake-up is only noted.
    pub(crate) fn start(&self, task: &Waker) {
        let mut own = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        own.clone_from(task);
        self.state.store(POLLING, Ordering::Release);
    }

    /// The poll is over; whether the bell was rung meanwhile.
    pub(crate) fn stop(&self) -> bool {
        self.state.swap(QUIET, Ordering::AcqRel) == RUNG
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self
            .state
            .compare_exchange(POLLING, RUNG, Ordering::AcqRel, Ordering::Acquire);
        // Rung already: whoever polls sees it.
        if noted == Err(QUIET) {
            self.task
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_ring_during_the_poll_is_noted_and_a_later_one_wakes_the_task() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let bell = Bell::new();
        let waker = Waker::from(Arc::clone(&bell));

        bell.start(&task);
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert!(bell.stop());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);

        waker.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);

        bell.start(&task);
        assert!(!bell.stop());
    }
}
