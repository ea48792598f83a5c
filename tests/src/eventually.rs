//! Waiting for a condition instead of for a time.

use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `look` again and again until it gives something.
///
/// # Errors
/// If that takes longer than `limit`; `what` and the last error say what was missed.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let outcome = look().await;
        match outcome {
            Ok(Some(found)) => return Ok(found),
            Ok(None) | Err(_) if start.elapsed() < limit => tokio::time::sleep(PAUSE).await,
            Ok(None) => anyhow::bail!("not within {limit:?}: {what}"),
            Err(error) => return Err(error).with_context(|| format!("not within {limit:?}: {what}")),
        }
    }
}
