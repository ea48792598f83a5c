//! Writes of categories.

use super::ATTEMPTS;
use super::ports::{Categories, CategoryError};
use crate::domain::{Category, CategoryPatch, NewCategory};
use contracts::{CategoryId, Timestamp};
use service::{IfMatch, StoreError};

/// Stores a new category and gives it back.
///
/// # Errors
/// If its name is taken, or the store does not answer.
pub async fn create_category(
    categories: &impl Categories,
    new: NewCategory,
) -> Result<Category, CategoryError> {
    let category = Category::create(new, Timestamp::now());
    categories.insert(&category).await?;
    Ok(category)
}

/// Changes a category and gives it back as it is then.
///
/// # Errors
/// If there is none, it is not as the client saw it, its new name is taken, or the store does not answer.
pub async fn change_category(
    categories: &impl Categories,
    id: CategoryId,
    expected: &IfMatch,
    patch: &CategoryPatch,
) -> Result<Category, CategoryError> {
    for _ in 0..ATTEMPTS {
        let category = find(categories, id, expected).await?;
        let Some(changed) = category.change(patch) else {
            return Ok(category);
        };
        if is_done(categories.store(&changed).await)? {
            return Ok(changed);
        }
    }
    Err(StoreError::Contention.into())
}

/// Deletes a category.
///
/// # Errors
/// If there is none, it is not as the client saw it, it has bouquets, or the store does not answer.
pub async fn delete_category(
    categories: &impl Categories,
    id: CategoryId,
    expected: &IfMatch,
) -> Result<(), CategoryError> {
    for _ in 0..ATTEMPTS {
        let category = find(categories, id, expected).await?;
        if is_done(categories.delete(&category).await)? {
            return Ok(());
        }
    }
    Err(StoreError::Contention.into())
}

async fn find(
    categories: &impl Categories,
    id: CategoryId,
    expected: &IfMatch,
) -> Result<Category, CategoryError> {
    let category = categories.find(id).await?.ok_or(CategoryError::NotFound)?;
    if expected.admits(category.version) {
        Ok(category)
    } else {
        Err(CategoryError::Stale)
    }
}

/// Whether the change was stored; `false` if it is to be decided again.
fn is_done(stored: Result<bool, CategoryError>) -> Result<bool, CategoryError> {
    match stored {
        Err(CategoryError::Store(StoreError::Contention)) => Ok(false),
        stored => stored,
    }
}
