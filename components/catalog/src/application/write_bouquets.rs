//! Writes of bouquets.

use super::ATTEMPTS;
use super::ports::{BouquetError, Bouquets};
use crate::domain::{Bouquet, BouquetItem, BouquetPatch, NewBouquet};
use contracts::{BouquetId, CategoryId, FlowerId, Timestamp};
use service::trace::Traceparent;
use service::{IfMatch, StoreError};

/// Stores a new bouquet and gives it back.
///
/// # Errors
/// If one of its flowers or its category does not exist, or the store does not answer.
pub async fn create_bouquet(
    bouquets: &impl Bouquets,
    new: NewBouquet,
    trace: &Traceparent,
) -> Result<Bouquet, BouquetError> {
    let change = Bouquet::create(new, Timestamp::now());
    check_parts(bouquets, &change.bouquet.items, change.bouquet.category_id).await?;
    bouquets.insert(&change, trace).await?;
    Ok(change.bouquet)
}

/// Changes a bouquet and gives it back as it is then.
///
/// # Errors
/// If there is none, it is not as the client saw it, one of its flowers or its category does not exist, or the store
/// does not answer.
pub async fn change_bouquet(
    bouquets: &impl Bouquets,
    id: BouquetId,
    expected: &IfMatch,
    patch: &BouquetPatch,
    trace: &Traceparent,
) -> Result<Bouquet, BouquetError> {
    for _ in 0..ATTEMPTS {
        let bouquet = find(bouquets, id, expected).await?;
        let Some(change) = bouquet.change(patch, Timestamp::now()) else {
            return Ok(bouquet);
        };
        if patch.items.is_some() || patch.category_id.is_some() {
            check_parts(bouquets, &change.bouquet.items, change.bouquet.category_id).await?;
        }
        if is_done(bouquets.store(&change, trace).await)? {
            return Ok(change.bouquet);
        }
    }
    Err(StoreError::Contention.into())
}

/// Deletes a bouquet.
///
/// # Errors
/// If there is none, it is not as the client saw it, or the store does not answer.
pub async fn delete_bouquet(
    bouquets: &impl Bouquets,
    id: BouquetId,
    expected: &IfMatch,
    trace: &Traceparent,
) -> Result<(), BouquetError> {
    for _ in 0..ATTEMPTS {
        let change = find(bouquets, id, expected).await?.delete(Timestamp::now());
        if is_done(bouquets.store(&change, trace).await)? {
            return Ok(());
        }
    }
    Err(StoreError::Contention.into())
}

/// Names what does not exist, so that a client can mend it. What is deleted after this look the store refuses.
async fn check_parts(
    bouquets: &impl Bouquets,
    items: &[BouquetItem],
    category: CategoryId,
) -> Result<(), BouquetError> {
    let flowers: Vec<FlowerId> = items.iter().map(|item| item.flower_id).collect();
    let known = bouquets.known_parts(&flowers, category).await?;
    let unknown = flowers
        .iter()
        .enumerate()
        .filter(|(_, flower)| !known.flowers.contains(flower));
    let items: Vec<usize> = unknown.map(|(position, _)| position).collect();
    if items.is_empty() && known.category {
        Ok(())
    } else {
        let category = !known.category;
        Err(BouquetError::UnknownParts { items, category })
    }
}

async fn find(bouquets: &impl Bouquets, id: BouquetId, expected: &IfMatch) -> Result<Bouquet, BouquetError> {
    let bouquet = bouquets.find(id).await?.ok_or(BouquetError::NotFound)?;
    if expected.admits(bouquet.version) {
        Ok(bouquet)
    } else {
        Err(BouquetError::Stale)
    }
}

/// Whether the change was stored; `false` if it is to be decided again.
fn is_done(stored: Result<bool, BouquetError>) -> Result<bool, BouquetError> {
    match stored {
        Err(BouquetError::Store(StoreError::Contention)) => Ok(false),
        stored => stored,
    }
}
