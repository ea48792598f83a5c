//! Reads of flowers go through the cache, which holds them ready to send: a hit is neither loaded nor written as JSON
//! again.

use super::ports::{FlowerCache, FlowerFilter, Flowers, Listing, Lookup, Representation};
use crate::domain::Flower;
use bytes::Bytes;
use contracts::FlowerId;
use service::{Page, PageQuery, StoreError};

/// One flower as `render` shows it; `None` if there is no such flower.
///
/// # Errors
/// If the store does not answer.
pub async fn show_flower(
    flowers: &impl Flowers,
    cache: &impl FlowerCache,
    id: FlowerId,
    render: impl FnOnce(Flower) -> Result<Bytes, StoreError>,
) -> Result<Option<Representation>, StoreError> {
    // The ticket comes before the load: what was loaded earlier could be older than a change that is answered by now.
    let ticket = match cache.flower(id).await {
        Lookup::Hit(representation) => return Ok(Some(representation)),
        Lookup::Miss(ticket) => ticket,
    };
    let Some(flower) = flowers.find(id).await? else {
        cache.give_back(id, ticket).await;
        return Ok(None);
    };
    let representation = Representation {
        version: flower.version,
        body: render(flower)?,
    };
    cache.keep_flower(id, ticket, &representation).await;
    Ok(Some(representation))
}

/// A page of the matching flowers as `render` shows it.
///
/// # Errors
/// If the store does not answer.
pub async fn list_flowers(
    flowers: &impl Flowers,
    cache: &impl FlowerCache,
    filter: &FlowerFilter,
    page: PageQuery,
    render: impl FnOnce(Page<Flower>) -> Result<Bytes, StoreError>,
) -> Result<Listing, StoreError> {
    let ticket = match cache.list(filter, page).await {
        Lookup::Hit(listing) => return Ok(listing),
        Lookup::Miss(ticket) => ticket,
    };
    let listing = Listing::new(render(flowers.list(filter, page).await?)?).compressed()?;
    cache.keep_list(filter, page, ticket, &listing).await;
    Ok(listing)
}
