//! Named places at which a test can have the process killed, as by a power cut: no destructor, no flush. Unarmed, a
//! point costs one relaxed load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Every point, in the order in which an event passes them.
pub const POINTS: [&str; 4] = [
    // Rows are read from the outbox, nothing is published.
    "relay.read",
    // A window is on its way to the broker, no confirm is in.
    "relay.published",
    // All confirms are in, nothing is marked.
    "relay.confirmed",
    // The component has answered, nothing is acknowledged to the broker.
    "shuttle.answered",
];

static ARMED: AtomicBool = AtomicBool::new(false);
static TARGET: OnceLock<Target> = OnceLock::new();

struct Target {
    point: &'static str,
    left: AtomicU64,
}

/// Arms one point: `name`, or `name:count` to die when it is reached for the count-th time.
///
/// # Errors
/// If there is no such point, the count is not a positive number, or a point is armed already.
pub fn arm(text: &str) -> Result<(), String> {
    let (name, count) = text.split_once(':').unwrap_or((text, "1"));
    let point = POINTS.into_iter().find(|point| *point == name);
    let point = point.ok_or_else(|| format!("no crash point {name:?}; there are {}", POINTS.join(", ")))?;
    let left = count.parse().ok().filter(|left| *left > 0);
    let left = AtomicU64::new(left.ok_or_else(|| format!("{count:?} is no count"))?);
    TARGET
        .set(Target { point, left })
        .map_err(|_| "a crash point is armed already".to_owned())?;
    ARMED.store(true, Ordering::Release);
    Ok(())
}

/// Kills the process here and now if this point is armed and its count is reached.
pub(crate) fn crash_point(point: &'static str) {
    if ARMED.load(Ordering::Relaxed) {
        reached(point);
    }
}

#[cold]
fn reached(point: &'static str) {
    let Some(target) = TARGET.get().filter(|target| target.point == point) else {
        return;
    };
    if target.left.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    // SIGKILL cannot be caught: what happens next happens as after a real crash.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_point_that_exists_can_be_armed() {
        assert!(arm("relay.nowhere").unwrap_err().contains("relay.read"));
        assert!(arm("relay.read:0").is_err());
        assert!(arm("relay.read:x").is_err());
    }
}
