//! Delivers the shipments whose timers have come home (R1, R2, R7): one query loads them, the domain decides, one
//! statement stores it all. A shipment that has ended since is left as it is.

use super::ATTEMPTS;
use super::ports::{Arrived, LoadedShipments, Outgoing, Shipments};
use crate::domain::Ending;
use contracts::{EventId, ShipmentId, Timestamp};
use service::StoreError;
use service::events::Handled;
use service::trace::Traceparent;

/// A timer that came home.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) id: EventId,
    pub(super) shipment_id: ShipmentId,
    pub(super) trace: Traceparent,
}

/// Gives an outcome for every timer.
///
/// # Errors
/// If the store does not answer: then nothing is known of the rest, and it is to come again whole.
pub(super) async fn deliver_due(
    shipments: &impl Shipments,
    mut open: Vec<Due>,
) -> Result<Vec<Handled>, StoreError> {
    let mut done = Vec::with_capacity(open.len());
    for _ in 0..ATTEMPTS {
        if open.is_empty() {
            break;
        }
        open = decide_and_store(shipments, open, &mut done).await?;
    }
    done.extend(
        open.iter()
            .map(|due| Handled::retry(due.id, "the shipment keeps changing")),
    );
    Ok(done)
}

/// Goes once from load to store. Adds what is settled to `done` and gives what is to be decided again.
async fn decide_and_store(
    shipments: &impl Shipments,
    open: Vec<Due>,
    done: &mut Vec<Handled>,
) -> Result<Vec<Due>, StoreError> {
    let ids: Vec<ShipmentId> = open.iter().map(|due| due.shipment_id).collect();
    let events: Vec<EventId> = open.iter().map(|due| due.id).collect();
    let loaded = shipments.load_shipments(&ids, &events).await?;
    let (known, mut open): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|due| loaded.handled.contains(&due.id));
    done.extend(known.into_iter().map(|due| Handled::duplicate(due.id)));
    let arrived = decide(&mut open, loaded, done);
    if arrived.is_empty() {
        return Ok(open);
    }
    let stored = match shipments.store_arrived(&arrived).await {
        Ok(stored) => stored,
        // The inbox knows one of the timers by now, or two transactions met.
        Err(StoreError::Contention | StoreError::Constraint(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let (settled, again): (Vec<_>, Vec<_>) = open
        .into_iter()
        .partition(|due| stored.contains(&due.shipment_id));
    done.extend(settled.into_iter().map(|due| Handled::processed(due.id)));
    Ok(again)
}

/// What the timers in `open` come to; one whose shipment there is not is settled at once.
fn decide(open: &mut Vec<Due>, loaded: LoadedShipments, done: &mut Vec<Handled>) -> Vec<Arrived> {
    let now = Timestamp::now();
    let mut arrived = Vec::new();
    for mut shipment in loaded.shipments {
        let of_it: Vec<&Due> = open.iter().filter(|due| due.shipment_id == shipment.id).collect();
        let Some(first) = of_it.first() else { continue };
        // A courier who said otherwise was there.
        let event = shipment.end(Ending::Delivered, now).ok().flatten();
        arrived.push(Arrived {
            outgoing: event.map(|event| Outgoing::now(event, &first.trace)),
            handled: of_it.iter().map(|due| due.id).collect(),
            shipment,
        });
    }
    open.retain(|due| {
        let exists = arrived
            .iter()
            .any(|arrived| arrived.shipment.id == due.shipment_id);
        if !exists {
            done.push(Handled::rejected(due.id, "there is no such shipment"));
        }
        exists
    });
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::create_shipment;
    use crate::application::store_in_memory::{Fault, InMemory};
    use crate::domain::{Arrival, FailureReason, ShipmentState};
    use event_batch::Outcome;
    use futures::executor::block_on;
    use std::time::Duration;

    fn shipped(store: &InMemory) -> ShipmentId {
        let order_id = store.with_paid_order();
        let arrival = Arrival::After(Duration::from_secs(1));
        let shipment = block_on(create_shipment(store, arrival, order_id, &Traceparent::random()));
        shipment.unwrap().id
    }

    fn due(shipment_id: ShipmentId) -> Due {
        Due {
            id: EventId::new(),
            shipment_id,
            trace: Traceparent::random(),
        }
    }

    fn outcomes(store: &InMemory, batch: &[Due]) -> Vec<Outcome> {
        let handled = block_on(deliver_due(store, batch.to_vec())).unwrap();
        let of = |due: &Due| {
            handled
                .iter()
                .find(|handled| handled.id == due.id)
                .unwrap()
                .outcome
        };
        assert_eq!(handled.len(), batch.len());
        batch.iter().map(of).collect()
    }

    #[test]
    fn a_shipment_arrives_when_its_timer_comes_home_and_once() {
        let store = InMemory::default();
        let timer = due(shipped(&store));
        assert_eq!(
            outcomes(&store, std::slice::from_ref(&timer)),
            [Outcome::Processed]
        );
        assert_eq!(outcomes(&store, &[timer]), [Outcome::Duplicate]);
        let told = ["ShipmentCreated", "DeliveryDue", "ShipmentDelivered"];
        assert_eq!(store.told(), told);
    }

    #[test]
    fn a_shipment_that_a_courier_has_ended_stays_as_it_is() {
        let reason = FailureReason::try_from("the dog".to_owned()).unwrap();
        for state in [ShipmentState::Delivered, ShipmentState::Failed { reason }] {
            let store = InMemory::default();
            let id = shipped(&store);
            store.set_state(id, state.clone());
            assert_eq!(outcomes(&store, &[due(id), due(id)]), [Outcome::Processed; 2]);
            assert_eq!(block_on(store.find(id, None)).unwrap().unwrap().state, state);
            assert_eq!(store.told(), ["ShipmentCreated", "DeliveryDue"]);
        }
    }

    #[test]
    fn a_timer_of_an_unknown_shipment_is_rejected_and_the_rest_handled() {
        let store = InMemory::default();
        let batch = [due(ShipmentId::new()), due(shipped(&store))];
        assert_eq!(outcomes(&store, &batch), [Outcome::Rejected, Outcome::Processed]);
    }

    #[test]
    fn an_end_that_came_too_late_is_decided_again() {
        // The first store is the shipment's own.
        for fault in [Fault::Raced, Fault::Contention, Fault::Constraint] {
            let store = InMemory::failing([Fault::None, fault]);
            let batch = [due(shipped(&store))];
            assert_eq!(outcomes(&store, &batch), [Outcome::Processed]);
            let told = ["ShipmentCreated", "DeliveryDue", "ShipmentDelivered"];
            assert_eq!(store.told(), told, "{fault:?}");
        }
    }
}
