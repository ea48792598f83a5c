//! Handles a batch of events (R1, R7): one query loads what it speaks of, the domain decides order by order, one
//! statement stores it all. What the gate refused because somebody was faster is loaded and decided again.

use super::ATTEMPTS;
use super::change::Occasion;
use super::ports::{CatalogChange, Cause, Change, Orders};
use crate::domain::{Decision, Fact, Order, Product, decide};
use contracts::{Event, EventId, OrderId, Received, Timestamp};
use service::StoreError;
use service::events::Handled;
use service::trace::Traceparent;

#[cfg(test)]
mod tests;

/// One event that tells a fact of an order.
#[derive(Clone, Debug)]
struct Told {
    id: EventId,
    order_id: OrderId,
    fact: Fact,
    cause: Cause,
    trace: Traceparent,
}

/// Gives an outcome for every event of the batch.
///
/// # Errors
/// If the store does not answer: then nothing is known of the batch's rest, and it is to come again whole.
pub async fn handle_events(orders: &impl Orders, batch: Vec<Received>) -> Result<Vec<Handled>, StoreError> {
    let mut handled = Vec::with_capacity(batch.len());
    let mut facts = Vec::new();
    let mut catalog = Vec::new();
    for received in batch {
        match sort(received) {
            Sorted::Fact(told) => facts.push(told),
            Sorted::Catalog(change) => catalog.push(change),
            Sorted::Refused(id, reason) => handled.push(Handled::rejected(id, reason)),
        }
    }
    if !catalog.is_empty() {
        orders.store_catalog(&catalog).await?;
        handled.extend(catalog.iter().map(|change| Handled::processed(change.event_id)));
    }
    if !facts.is_empty() {
        handled.extend(handle_facts(orders, facts).await?);
    }
    Ok(handled)
}

enum Sorted {
    Fact(Told),
    Catalog(CatalogChange),
    Refused(EventId, String),
}

fn sort(received: Received) -> Sorted {
    let trace = Traceparent::of(&received);
    let Received { id, event, .. } = received;
    let told = |order_id, fact| {
        Sorted::Fact(Told {
            id,
            order_id,
            fact,
            cause: fact.name().into(),
            trace: trace.clone(),
        })
    };
    // What a dead letter says of an order is what the order was not told.
    let dead = |order_id, fact, event_type: Option<String>, queue| {
        Sorted::Fact(Told {
            id,
            order_id,
            fact,
            cause: event_type.unwrap_or(queue).into(),
            trace: trace.clone(),
        })
    };
    match event {
        Event::PaymentCompleted(event) => told(
            event.order_id,
            Fact::PaymentCompleted {
                attempt: event.attempt,
            },
        ),
        Event::PaymentFailed(event) => told(
            event.order_id,
            Fact::PaymentFailed {
                attempt: event.attempt,
            },
        ),
        Event::PaymentRefunded(event) => told(event.order_id, Fact::PaymentRefunded),
        Event::StockReserved(event) => told(event.order_id, Fact::StockReserved),
        Event::StockRejected(event) => told(event.order_id, Fact::StockRejected),
        Event::ShipmentCreated(event) => told(event.order_id, Fact::ShipmentCreated),
        Event::ShipmentDelivered(event) => told(event.order_id, Fact::ShipmentDelivered),
        Event::ShipmentFailed(event) => told(event.order_id, Fact::ShipmentFailed),
        Event::PaymentDeadlinePassed(event) => told(event.order_id, Fact::PaymentDeadlinePassed),
        Event::EventDeadLettered(event) => dead(
            event.order_id,
            Fact::EventDeadLettered,
            event.event_type,
            event.queue,
        ),
        Event::DeadLetterResolved(event) => match event.resolution.as_str() {
            "retried" => dead(
                event.order_id,
                Fact::DeadLetterRetried,
                event.event_type,
                event.queue,
            ),
            "discarded" => dead(
                event.order_id,
                Fact::DeadLetterDiscarded,
                event.event_type,
                event.queue,
            ),
            other => Sorted::Refused(id, format!("a dead letter is not {other}")),
        },
        Event::FlowerChanged(event) => Sorted::Catalog(CatalogChange {
            product: Product::Flower(event.flower_id),
            version: event.version,
            name: event.name,
            price: event.price,
            deleted: event.deleted,
            event_id: id,
        }),
        Event::BouquetChanged(event) => Sorted::Catalog(CatalogChange {
            product: Product::Bouquet(event.bouquet_id),
            version: event.version,
            name: event.name,
            price: event.price,
            deleted: event.deleted,
            event_id: id,
        }),
        event => Sorted::Refused(id, format!("{} is not for ordering", event.event_type())),
    }
}

async fn handle_facts(orders: &impl Orders, facts: Vec<Told>) -> Result<Vec<Handled>, StoreError> {
    let mut done = Vec::with_capacity(facts.len());
    let mut open = facts;
    for _ in 0..ATTEMPTS {
        let (changes, settled) = decide_all(orders, &open).await?;
        open.retain(|told| !settled.iter().any(|handled| handled.id == told.id));
        done.extend(settled);
        if changes.is_empty() {
            break;
        }
        let stored = match orders.store(&changes).await {
            Ok(stored) => stored,
            // The inbox knows one of the events by now, or two transactions met: decide again.
            Err(StoreError::Contention | StoreError::Constraint(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        for change in changes.iter().filter(|change| stored.contains(&change.order_id)) {
            done.extend(change.handled.iter().map(|id| Handled::processed(*id)));
            open.retain(|told| !change.handled.contains(&told.id));
        }
        if open.is_empty() {
            break;
        }
    }
    done.extend(
        open.into_iter()
            .map(|told| Handled::retry(told.id, "the order keeps changing")),
    );
    Ok(done)
}

/// Loads what `facts` speak of and decides: a change per order, and the events that need none.
async fn decide_all(orders: &impl Orders, facts: &[Told]) -> Result<(Vec<Change>, Vec<Handled>), StoreError> {
    let mut order_ids: Vec<OrderId> = facts.iter().map(|told| told.order_id).collect();
    order_ids.sort_unstable();
    order_ids.dedup();
    let event_ids: Vec<EventId> = facts.iter().map(|told| told.id).collect();
    let loaded = orders.load(&order_ids, &event_ids).await?;

    let mut settled = Vec::new();
    let mut changes: Vec<(Order, Change)> = Vec::new();
    let now = Timestamp::now();
    for told in facts {
        if loaded.handled.contains(&told.id) {
            settled.push(Handled::duplicate(told.id));
            continue;
        }
        let position = changes.iter().position(|(order, _)| order.id == told.order_id);
        let position = match position {
            Some(position) => position,
            None => match loaded.orders.iter().find(|order| order.id == told.order_id) {
                Some(order) => {
                    changes.push((order.clone(), Change::none(order, now)));
                    changes.len() - 1
                }
                None => {
                    settled.push(of_no_order(told));
                    continue;
                }
            },
        };
        let (order, change) = &mut changes[position];
        if let Some(handled) = fold(order, change, told, now) {
            settled.push(handled);
        }
    }
    let changes = changes
        .into_iter()
        .map(|(_, change)| change)
        .filter(|change| !change.handled.is_empty());
    Ok((changes.collect(), settled))
}

/// An order that was acknowledged is there: what speaks of another is a mistake. A dead letter may be just that, and
/// must not make one of the word about it, or there would be no end of them.
fn of_no_order(told: &Told) -> Handled {
    match told.fact {
        Fact::EventDeadLettered | Fact::DeadLetterRetried | Fact::DeadLetterDiscarded => {
            Handled::processed(told.id)
        }
        _ => Handled::rejected(told.id, "there is no such order"),
    }
}

/// Adds what `told` means to its order's change; an event that has to wait is settled at once.
fn fold(order: &mut Order, change: &mut Change, told: &Told, now: Timestamp) -> Option<Handled> {
    let decision = decide(order, told.fact);
    if decision == Decision::NotYet {
        return Some(Handled::retry(told.id, "an earlier event has not come yet"));
    }
    let occasion = Occasion {
        fact: told.fact,
        cause: &told.cause,
        event_id: Some(told.id),
        trace: &told.trace,
        at: now,
    };
    change.take(order, decision, &occasion);
    change.handled.push(told.id);
    None
}
