//! Handles a batch of events (R1, R7): one query loads what it speaks of, the domain decides order by order, one
//! statement stores it all and decides, where the stock is locked, for whom there is enough. What was refused because
//! somebody was faster is loaded and decided again.

use super::ATTEMPTS;
use super::ports::{FlowerCache, Loaded, Outgoing, ReservationChange, Reservations, StoredReservation};
use crate::domain::{Fact, Lines, Reservation, answers};
use contracts::{Event, EventId, OrderId, Received, Timestamp};
use service::StoreError;
use service::events::Handled;
use service::trace::Traceparent;

/// One event that tells a fact of an order.
#[derive(Clone, Debug)]
struct Told {
    id: EventId,
    order_id: OrderId,
    fact: Fact,
    trace: Traceparent,
}

/// Gives an outcome for every event of the batch.
///
/// # Errors
/// If the store does not answer: then nothing is known of the batch's rest, and it is to come again whole.
pub async fn handle_events(
    reservations: &impl Reservations,
    cache: &impl FlowerCache,
    batch: Vec<Received>,
) -> Result<Vec<Handled>, StoreError> {
    let mut done = Vec::with_capacity(batch.len());
    let mut open = Vec::with_capacity(batch.len());
    for received in batch {
        match sort(received) {
            Ok(told) => open.push(told),
            Err(rejected) => done.push(rejected),
        }
    }
    for _ in 0..ATTEMPTS {
        if open.is_empty() {
            break;
        }
        open = decide_and_store(reservations, cache, open, &mut done).await?;
    }
    let open = open.into_iter();
    done.extend(open.map(|told| Handled::retry(told.id, "the stock keeps changing")));
    Ok(done)
}

/// What `received` tells; an event that is not for the catalog or that no order can have raised is settled at once.
fn sort(received: Received) -> Result<Told, Handled> {
    let (id, trace) = (received.id, Traceparent::of(&received));
    let (order_id, fact) = match received.event {
        Event::OrderCreated(event) => {
            let lines = Lines::try_from(event.items.as_slice());
            let lines = lines.map_err(|error| Handled::rejected(id, error.to_string()))?;
            (event.order_id, Fact::Created(lines))
        }
        Event::OrderCancelled(event) => (event.order_id, Fact::Cancelled),
        Event::OrderCompleted(event) => (event.order_id, Fact::Completed),
        event => {
            let name = event.event_type();
            return Err(Handled::rejected(id, format!("{name} is not for the catalog")));
        }
    };
    Ok(Told {
        id,
        order_id,
        fact,
        trace,
    })
}

/// Goes once from load to store. Adds what is settled to `done` and gives what is to be decided again.
async fn decide_and_store(
    reservations: &impl Reservations,
    cache: &impl FlowerCache,
    mut open: Vec<Told>,
    done: &mut Vec<Handled>,
) -> Result<Vec<Told>, StoreError> {
    let loaded = load(reservations, &open).await?;
    let (known, new): (Vec<_>, Vec<_>) = open
        .into_iter()
        .partition(|told| loaded.handled.contains(&told.id));
    // Who handled them may have died before the cache forgot what they changed.
    let changed = known.iter().filter_map(|told| find(&loaded, told.order_id));
    let flowers: Vec<_> = changed.flat_map(|stored| &stored.flowers).copied().collect();
    cache.forget(&flowers).await;
    done.extend(known.into_iter().map(|told| Handled::duplicate(told.id)));
    open = new;

    let changes = decide(&mut open, &loaded, done);
    if changes.is_empty() {
        return Ok(open);
    }
    let stored = match reservations.store(&changes, Timestamp::now()).await {
        Ok(stored) => stored,
        // The inbox knows one of the events by now, an order was heard of elsewhere, or two transactions met.
        Err(StoreError::Contention | StoreError::Constraint(_)) => return Ok(open),
        Err(error) => return Err(error),
    };
    cache.forget(&stored.flowers).await;
    let (settled, again): (Vec<_>, Vec<_>) = open
        .into_iter()
        .partition(|told| stored.orders.contains(&told.order_id));
    done.extend(settled.into_iter().map(|told| Handled::processed(told.id)));
    Ok(again)
}

async fn load(reservations: &impl Reservations, open: &[Told]) -> Result<Loaded, StoreError> {
    let orders: Vec<OrderId> = open.iter().map(|told| told.order_id).collect();
    let events: Vec<EventId> = open.iter().map(|told| told.id).collect();
    reservations.load(&orders, &events).await
}

/// A change per order, in the order of the batch. An event that has to wait is settled at once and leaves `open`.
fn decide(open: &mut Vec<Told>, loaded: &Loaded, done: &mut Vec<Handled>) -> Vec<ReservationChange> {
    let mut changes: Vec<ReservationChange> = Vec::with_capacity(open.len());
    open.retain(|told| {
        let position = changes.iter().position(|change| change.order_id == told.order_id);
        let stored = find(loaded, told.order_id);
        let before = match position {
            Some(position) => Some(changes[position].reservation.clone()),
            None => stored.map(|stored| Reservation::Stands(stored.status)),
        };
        let after = match Reservation::after(before, &told.fact) {
            Ok(after) => after,
            Err(error) => {
                done.push(Handled::retry(told.id, error.to_string()));
                return false;
            }
        };
        match position {
            Some(position) => {
                let change = &mut changes[position];
                change.reservation = after;
                change.handled.push(told.id);
            }
            None => changes.push(ReservationChange {
                order_id: told.order_id,
                version: stored.map_or(0, |stored| stored.version),
                reservation: after,
                outgoing: answers(told.order_id).map(|(is_reserved, event)| Outgoing {
                    is_reserved,
                    event,
                    trace: told.trace.clone(),
                }),
                handled: vec![told.id],
            }),
        }
        true
    });
    changes
}

fn find(loaded: &Loaded, order_id: OrderId) -> Option<&StoredReservation> {
    let mut reservations = loaded.reservations.iter();
    reservations.find(|stored| stored.order_id == order_id)
}

#[cfg(test)]
mod tests;
