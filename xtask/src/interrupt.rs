//! Ctrl-C, SIGTERM and SIGHUP. Every wait of xtask goes through `pause`, so a signal ends it at once and whoever
//! started something gets to stop it; a second signal says that even the orderly stop takes too long.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The error of everything that a signal cut short.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

#[derive(Default)]
struct Seen {
    signals: u32,
    /// Counts `ring`s, so that one which comes just before the wait is not lost.
    rings: u64,
}

static SEEN: Mutex<Seen> = Mutex::new(Seen { signals: 0, rings: 0 });
static BELL: Condvar = Condvar::new();

fn seen() -> MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes over SIGINT, SIGTERM and a closed terminal's SIGHUP for the rest of the process.
pub(crate) fn install() -> Result<()> {
    let mut wanted = vec![SIGINT, SIGTERM];
    if !hangup_is_ignored() {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted).context("cannot listen for signals")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            seen().signals += 1;
            BELL.notify_all();
        }
    });
    Ok(())
}

/// Whether `nohup` started us: it asks to outlive the terminal.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

/// Whether a signal has come, without waiting for one.
pub(crate) fn check() -> Result<()> {
    if seen().signals > 0 {
        Err(Interrupted.into())
    } else {
        Ok(())
    }
}

/// True from the second signal on: stop by force.
pub(crate) fn insists() -> bool {
    seen().signals > 1
}

/// Wakes whoever is in `pause`: what it waits for may have happened.
pub(crate) fn ring() {
    seen().rings += 1;
    BELL.notify_all();
}

/// Waits for `limit`, for `ring`, or for a signal, which is the error.
pub(crate) fn pause(limit: Duration) -> Result<()> {
    let guard = seen();
    let rings = guard.rings;
    let waited = BELL.wait_timeout_while(guard, limit, |seen| seen.signals == 0 && seen.rings == rings);
    drop(waited);
    check()
}
