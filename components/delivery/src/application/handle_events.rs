//! Handles a batch of events (R1, R7): one query loads what it speaks of, the domain decides order by order, one
//! statement stores it all. What the gate refused because somebody was faster is loaded and decided again. Timers are
//! `deliver_due`'s.

use super::ATTEMPTS;
use super::deliver_due::{Due, deliver_due};
use super::ports::{Change, Loaded, Outgoing, Shipments};
use crate::domain::{Order, PaidOrder, Shipping, Terms, TrackingNumber};
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

/// A batch, taken apart.
#[derive(Default)]
struct Sorted {
    paid: Vec<Told>,
    due: Vec<Due>,
    foreign: Vec<Handled>,
}

/// Gives an outcome for every event of the batch.
///
/// # Errors
/// If the store does not answer: then nothing is known of the batch's rest, and it is to come again whole.
pub async fn handle_events(
    shipments: &impl Shipments,
    terms: Terms,
    batch: Vec<Received>,
) -> Result<Vec<Handled>, StoreError> {
    let mut sorted = Sorted::default();
    for received in batch {
        sorted.add(received);
    }
    let Sorted { paid, due, foreign } = sorted;
    let mut done = foreign;
    done.extend(hear_of_paid(shipments, terms, paid).await?);
    done.extend(deliver_due(shipments, due).await?);
    Ok(done)
}

impl Sorted {
    /// Adds what `received` tells; an event that is not for delivery is settled at once.
    fn add(&mut self, received: Received) {
        let (id, trace) = (received.id, Traceparent::of(&received));
        match received.event {
            Event::OrderPaid(event) => {
                let paid = PaidOrder {
                    id: event.order_id,
                    user_id: event.user_id,
                    delivery_address: event.delivery_address,
                };
                self.add_paid(id, paid, trace);
            }
            Event::DeliveryDue(event) => self.due.push(Due {
                id,
                shipment_id: event.shipment_id,
                trace,
            }),
            other => {
                let reason = format!("{} is not for delivery", other.event_type());
                self.foreign.push(Handled::rejected(id, reason));
            }
        }
    }

    fn add_paid(&mut self, id: EventId, paid: PaidOrder, trace: Traceparent) {
        match self.paid.iter_mut().find(|told| told.paid.id == paid.id) {
            Some(told) if told.events.contains(&id) => {}
            Some(told) => told.events.push(id),
            None => self.paid.push(Told {
                paid,
                events: vec![id],
                trace,
            }),
        }
    }
}

async fn hear_of_paid(
    shipments: &impl Shipments,
    terms: Terms,
    mut open: Vec<Told>,
) -> Result<Vec<Handled>, StoreError> {
    let mut done = Vec::with_capacity(open.len());
    for _ in 0..ATTEMPTS {
        if open.is_empty() {
            break;
        }
        open = decide_and_store(shipments, terms, open, &mut done).await?;
    }
    let events = open.iter().flat_map(|told| &told.events);
    done.extend(events.map(|id| Handled::retry(*id, "the order keeps changing")));
    Ok(done)
}

/// Goes once from load to store. Adds what is settled to `done` and gives what is to be decided again.
async fn decide_and_store(
    shipments: &impl Shipments,
    terms: Terms,
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
        .map(|told| decide(told, &loaded, terms, now))
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
fn decide(told: &Told, loaded: &Loaded, terms: Terms, now: Timestamp) -> Change {
    let known = loaded
        .orders
        .iter()
        .find(|order| order.id() == told.paid.id)
        .cloned();
    let is_new = known.is_none();
    let mut order = known.unwrap_or_else(|| Order::new(told.paid.clone()));
    let shipped = if is_new && terms.shipping == Shipping::Automatic {
        order.ship(TrackingNumber::random(), terms.arrival, now).ok()
    } else {
        None
    };
    let told_of = shipped.map(|shipped| (shipped.shipment, shipped.announcements));
    let (shipment, announcements) = told_of.unzip();
    Change {
        order,
        shipment,
        at: now,
        outgoing: Outgoing::all(announcements.unwrap_or_default(), &told.trace),
        handled: told.events.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::store_in_memory::{Fault, InMemory};
    use crate::domain::Arrival;
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

    fn terms(shipping: Shipping) -> Terms {
        Terms {
            shipping,
            arrival: Arrival::Told,
        }
    }

    fn outcomes(store: &InMemory, shipping: Shipping, batch: &[Received]) -> Vec<Outcome> {
        let handled = block_on(handle_events(store, terms(shipping), batch.to_vec())).unwrap();
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
            let answer = block_on(handle_events(&store, terms(Shipping::Automatic), batch.to_vec()));
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
