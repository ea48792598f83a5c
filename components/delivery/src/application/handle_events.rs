//! Handles a batch of events (R1, R7): one query loads what it speaks of, the domain decides order by order, one
//! statement stores it all. What the gate refused because somebody was faster is loaded and decided again.

use super::ATTEMPTS;
use super::ports::{Change, Loaded, Outgoing, Shipments};
use crate::domain::{Order, PaidOrder, Shipping, TrackingNumber};
use contracts::{Event, EventId, OrderId, Received, Timestamp};
use service::StoreError;
use service::events::Handled;
use service::trace::Traceparent;

/// All that a batch tells of one order.
#[derive(Clone, Debug)]
struct Told {
    paid: PaidOrder,
    events: Vec<EventId>,
    /// That of the first event.
    trace: Traceparent,
}

/// Gives an outcome for every event of the batch.
///
/// # Errors
/// If the store does not answer: then nothing is known of the batch's rest, and it is to come again whole.
pub async fn handle_events(
    shipments: &impl Shipments,
    shipping: Shipping,
    batch: Vec<Received>,
) -> Result<Vec<Handled>, StoreError> {
    let mut done = Vec::with_capacity(batch.len());
    let mut open = Vec::new();
    for received in batch {
        if let Some(rejected) = sort(received, &mut open) {
            done.push(rejected);
        }
    }
    for _ in 0..ATTEMPTS {
        if open.is_empty() {
            break;
        }
        open = decide_and_store(shipments, shipping, open, &mut done).await?;
    }
    let events = open.iter().flat_map(|told| &told.events);
    done.extend(events.map(|id| Handled::retry(*id, "the order keeps changing")));
    Ok(done)
}

/// Adds what `received` tells to its order; an event that is not for delivery is settled at once.
fn sort(received: Received, open: &mut Vec<Told>) -> Option<Handled> {
    let trace = Traceparent::of(&received);
    let Event::OrderPaid(event) = received.event else {
        let name = received.event.event_type();
        return Some(Handled::rejected(
            received.id,
            format!("{name} is not for delivery"),
        ));
    };
    match open.iter_mut().find(|told| told.paid.id == event.order_id) {
        Some(told) if told.events.contains(&received.id) => {}
        Some(told) => told.events.push(received.id),
        None => open.push(Told {
            paid: PaidOrder {
                id: event.order_id,
                user_id: event.user_id,
                delivery_address: event.delivery_address,
            },
            events: vec![received.id],
            trace,
        }),
    }
    None
}

/// Goes once from load to store. Adds what is settled to `done` and gives what is to be decided again.
async fn decide_and_store(
    shipments: &impl Shipments,
    shipping: Shipping,
    mut open: Vec<Told>,
    done: &mut Vec<Handled>,
) -> Result<Vec<Told>, StoreError> {
    let order_ids: Vec<OrderId> = open.iter().map(|told| told.paid.id).collect();
    let events: Vec<EventId> = open.iter().flat_map(|told| told.events.iter().copied()).collect();
    let loaded = shipments.load(&order_ids, &events).await?;
    for told in &mut open {
        let (known, new) = told.events.iter().partition(|id| loaded.handled.contains(id));
        told.events = new;
        let known: Vec<EventId> = known;
        done.extend(known.into_iter().map(Handled::duplicate));
    }
    open.retain(|told| !told.events.is_empty());
    if open.is_empty() {
        return Ok(open);
    }
    let now = Timestamp::now();
    let changes: Vec<_> = open
        .iter()
        .map(|told| decide(told, &loaded, shipping, now))
        .collect();
    let stored = match shipments.store(&changes).await {
        Ok(stored) => stored,
        // The inbox knows one of the events by now, a tracking number is taken, or two transactions met.
        Err(StoreError::Contention | StoreError::Constraint(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let (settled, again): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|told| stored.contains(&told.paid.id));
    let events = settled.iter().flat_map(|told| &told.events);
    done.extend(events.map(|id| Handled::processed(*id)));
    Ok(again)
}

/// An order that is new is shipped, unless somebody is to ask for that; of one that is known nothing new was told.
fn decide(told: &Told, loaded: &Loaded, shipping: Shipping, now: Timestamp) -> Change {
    let known = loaded
        .orders
        .iter()
        .find(|order| order.id() == told.paid.id)
        .cloned();
    let is_new = known.is_none();
    let mut order = known.unwrap_or_else(|| Order::new(told.paid.clone()));
    let shipped = if is_new && shipping == Shipping::Automatic {
        order.ship(TrackingNumber::random(), now).ok()
    } else {
        None
    };
    let (shipment, event) = shipped.unzip();
    let outgoing = event.map(|event| Outgoing {
        event,
        trace: told.trace.clone(),
    });
    Change {
        order,
        shipment,
        at: now,
        outgoing: outgoing.into_iter().collect(),
        handled: told.events.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::store_in_memory::{Fault, InMemory};
    use contracts::{OrderCompleted, OrderPaid, UserId};
    use event_batch::Outcome;
    use futures::executor::block_on;

    fn paid() -> (OrderId, Received) {
        let order_id = OrderId::new();
        let event = OrderPaid {
            order_id,
            user_id: UserId::new(),
            delivery_address: "1 Rose Street".to_owned(),
        };
        (order_id, received(event))
    }

    fn received(event: impl Into<Event>) -> Received {
        Received {
            id: EventId::new(),
            traceparent: None,
            occurred_at: None,
            event: event.into(),
        }
    }

    fn outcomes(store: &InMemory, shipping: Shipping, batch: &[Received]) -> Vec<Outcome> {
        let handled = block_on(handle_events(store, shipping, batch.to_vec())).unwrap();
        let of = |received: &Received| {
            let mut mine = handled.iter().filter(|handled| handled.id == received.id);
            let outcome = mine.next().unwrap().outcome;
            assert_eq!(mine.next(), None, "two outcomes for one event");
            outcome
        };
        batch.iter().map(of).collect()
    }

    #[test]
    fn a_paid_order_is_shipped_and_its_shipment_told() {
        let store = InMemory::default();
        let (order_id, event) = paid();
        assert_eq!(
            outcomes(&store, Shipping::Automatic, &[event]),
            [Outcome::Processed]
        );
        assert!(store.shipment_of(order_id).is_some());
        assert_eq!(store.told(), ["ShipmentCreated"]);
    }

    #[test]
    fn an_event_that_comes_again_is_a_duplicate_in_a_batch_and_later() {
        let store = InMemory::default();
        let (_, event) = paid();
        let twice = [event.clone(), event.clone()];
        assert_eq!(
            outcomes(&store, Shipping::Automatic, &twice),
            [Outcome::Processed; 2]
        );
        assert_eq!(
            outcomes(&store, Shipping::Automatic, &[event]),
            [Outcome::Duplicate]
        );
        assert_eq!(store.told(), ["ShipmentCreated"]);
    }

    #[test]
    fn an_order_told_of_by_another_event_is_not_shipped_again() {
        let store = InMemory::default();
        let (_, event) = paid();
        let (second, third) = (received(event.event.clone()), received(event.event.clone()));
        assert_eq!(
            outcomes(&store, Shipping::Automatic, &[event, second]),
            [Outcome::Processed; 2]
        );
        let third = [third];
        assert_eq!(
            outcomes(&store, Shipping::Automatic, &third),
            [Outcome::Processed]
        );
        assert_eq!(
            outcomes(&store, Shipping::Automatic, &third),
            [Outcome::Duplicate]
        );
        assert_eq!(store.told(), ["ShipmentCreated"]);
    }

    #[test]
    fn an_order_that_somebody_is_to_ask_for_is_only_noted() {
        let store = InMemory::default();
        let (order_id, event) = paid();
        assert_eq!(
            outcomes(&store, Shipping::OnRequest, std::slice::from_ref(&event)),
            [Outcome::Processed]
        );
        assert_eq!(store.shipment_of(order_id), None);
        assert!(store.told().is_empty());
        assert_eq!(
            outcomes(&store, Shipping::Automatic, &[event]),
            [Outcome::Duplicate]
        );
    }

    #[test]
    fn an_event_that_is_not_for_delivery_is_rejected_and_the_rest_handled() {
        let store = InMemory::default();
        let (order_id, event) = paid();
        let batch = [received(OrderCompleted { order_id }), event];
        let expected = [Outcome::Rejected, Outcome::Processed];
        assert_eq!(outcomes(&store, Shipping::Automatic, &batch), expected);
    }

    #[test]
    fn a_change_that_came_too_late_is_decided_again() {
        for fault in [Fault::Raced, Fault::Contention, Fault::Constraint] {
            let store = InMemory::failing([fault]);
            let (order_id, event) = paid();
            assert_eq!(
                outcomes(&store, Shipping::Automatic, &[event]),
                [Outcome::Processed]
            );
            // Who was faster in a race had only noted the order, and nobody ships it twice.
            assert_eq!(store.shipment_of(order_id).is_some(), fault != Fault::Raced);
        }
    }

    #[test]
    fn an_order_that_keeps_changing_is_put_off_after_three_tries() {
        let store = InMemory::failing([Fault::Contention; 3]);
        let (_, event) = paid();
        let batch = [event];
        assert_eq!(outcomes(&store, Shipping::Automatic, &batch), [Outcome::Retry]);
        assert_eq!(
            outcomes(&store, Shipping::Automatic, &batch),
            [Outcome::Processed]
        );
    }

    #[test]
    fn a_batch_whose_store_does_not_answer_comes_again_and_has_its_effect_once() {
        for fault in [Fault::Lost, Fault::Unknown] {
            let store = InMemory::failing([fault]);
            let (_, event) = paid();
            let batch = [event];
            let answer = block_on(handle_events(&store, Shipping::Automatic, batch.to_vec()));
            assert!(answer.is_err());
            let expected = match fault {
                Fault::Unknown => Outcome::Duplicate,
                _ => Outcome::Processed,
            };
            assert_eq!(outcomes(&store, Shipping::Automatic, &batch), [expected]);
            assert_eq!(store.told(), ["ShipmentCreated"]);
        }
    }
}
