//! Writes of flowers. Each has the cache forget what it touched before it is answered.

use super::ATTEMPTS;
use super::ports::{FlowerCache, FlowerError, Flowers};
use crate::domain::{Flower, FlowerPatch, NewFlower, StockDelta, StockOutOfRange};
use contracts::{FlowerId, Timestamp};
use service::trace::Traceparent;
use service::{IfMatch, StoreError};

/// Stores a new flower and gives it back.
///
/// # Errors
/// If the store does not answer.
pub async fn create_flower(
    flowers: &impl Flowers,
    cache: &impl FlowerCache,
    new: NewFlower,
    trace: &Traceparent,
) -> Result<Flower, FlowerError> {
    let change = Flower::create(new, Timestamp::now());
    let stored = flowers.insert(&change, trace).await;
    forget(cache, change.flower.id, &stored).await;
    stored.map(|()| change.flower)
}

/// Changes a flower and gives it back as it is then.
///
/// # Errors
/// If there is none, it is not as the client saw it, the patch cannot be, or the store does not answer.
pub async fn change_flower(
    flowers: &impl Flowers,
    cache: &impl FlowerCache,
    id: FlowerId,
    expected: &IfMatch,
    patch: &FlowerPatch,
    trace: &Traceparent,
) -> Result<Flower, FlowerError> {
    if *expected == IfMatch::Absent
        && let Some(delta) = patch.only_stock_delta()
    {
        return add_stock(flowers, cache, id, delta).await;
    }
    for _ in 0..ATTEMPTS {
        let flower = find(flowers, id, expected).await?;
        if patch.sets_stock() && !expected.names_versions() {
            return Err(FlowerError::VersionNeeded);
        }
        let Some(change) = flower.change(patch, Timestamp::now())? else {
            return Ok(flower);
        };
        let stored = flowers.store(&change, trace).await;
        forget(cache, id, &stored).await;
        if is_done(stored)? {
            return Ok(change.flower);
        }
    }
    Err(StoreError::Contention.into())
}

/// Deletes a flower.
///
/// # Errors
/// If there is none, it is not as the client saw it, a bouquet holds it, or the store does not answer.
pub async fn delete_flower(
    flowers: &impl Flowers,
    cache: &impl FlowerCache,
    id: FlowerId,
    expected: &IfMatch,
    trace: &Traceparent,
) -> Result<(), FlowerError> {
    for _ in 0..ATTEMPTS {
        let change = find(flowers, id, expected).await?.delete(Timestamp::now());
        let stored = flowers.store(&change, trace).await;
        forget(cache, id, &stored).await;
        if is_done(stored)? {
            return Ok(());
        }
    }
    Err(StoreError::Contention.into())
}

/// A correction that depends on nothing but the flower's existence needs no version, and loses to nobody.
async fn add_stock(
    flowers: &impl Flowers,
    cache: &impl FlowerCache,
    id: FlowerId,
    delta: StockDelta,
) -> Result<Flower, FlowerError> {
    if delta.get() == 0 {
        return find(flowers, id, &IfMatch::Absent).await;
    }
    let stored = flowers.add_stock(id, delta, Timestamp::now()).await;
    let stored = stored.map_err(FlowerError::from);
    forget(cache, id, &stored).await;
    match stored? {
        Some(flower) => Ok(flower),
        None => {
            find(flowers, id, &IfMatch::Absent).await?;
            Err(StockOutOfRange.into())
        }
    }
}

async fn find(flowers: &impl Flowers, id: FlowerId, expected: &IfMatch) -> Result<Flower, FlowerError> {
    let flower = flowers.find(id).await?.ok_or(FlowerError::NotFound)?;
    if expected.admits(flower.version) {
        Ok(flower)
    } else {
        Err(FlowerError::Stale)
    }
}

/// Whether the change was stored; `false` if it is to be decided again.
fn is_done(stored: Result<bool, FlowerError>) -> Result<bool, FlowerError> {
    match stored {
        Err(FlowerError::Store(StoreError::Contention)) => Ok(false),
        stored => stored,
    }
}

/// Has the cache forget what was written. A write whose end is unknown may have happened too.
async fn forget<T>(cache: &impl FlowerCache, id: FlowerId, stored: &Result<T, FlowerError>) {
    if matches!(
        stored,
        Ok(_) | Err(FlowerError::Store(StoreError::Unavailable(_)))
    ) {
        cache.forget(&[id]).await;
    }
}
