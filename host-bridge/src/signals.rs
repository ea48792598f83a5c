//! SIGTERM and SIGINT: the first asks for an orderly end, the second does not wait for it. And SIGHUP, which asks to look at
//! files again.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on none of the signals ends the process by itself.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
        let hangup = signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?;
        Ok(Self {
            terminate,
            interrupt,
            hangup,
        })
    }

    /// Runs `work` unless a signal comes first; `None` if one does.
    pub(crate) async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            () = self.next() => None,
        }
    }

    /// Waits for the first signal that asks for an end, and has `again` done at each one that asks to look at files again.
    pub(crate) async fn next_unless_again(&mut self, again: impl AsyncFn()) {
        loop {
            let ended = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hangup.recv() => match self.unless(again()).await {
                    Some(()) => continue,
                    None => return,
                },
            };
            return info!(signal = ended, "asked to end");
        }
    }

    /// Waits for the first signal, one that asks to look at files again included.
    pub(crate) async fn next_or_hangup(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        };
        info!(signal = name, "asked to end");
    }

    /// Waits for the first signal.
    pub(crate) async fn next(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "asked to end");
    }

    /// Runs the orderly end; a second signal cuts it short.
    pub(crate) async fn drain(mut self, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        if self.unless(end).await.is_none() {
            warn!("ended at once");
            anyhow::bail!("a second signal cut the end short");
        }
        info!("ended");
        Ok(())
    }
}
