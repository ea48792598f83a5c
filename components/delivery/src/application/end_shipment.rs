//! Notes what a courier says became of a shipment.

use super::ATTEMPTS;
use super::ports::{Arrived, Outgoing, Shipments};
use crate::domain::{Ending, NotUnderWay, Shipment};
use contracts::{ShipmentId, Timestamp};
use service::StoreError;
use service::trace::Traceparent;

/// Why a shipment did not come to this end.
#[derive(Debug, thiserror::Error)]
pub enum EndShipmentError {
    #[error("there is no such shipment")]
    UnknownShipment,
    #[error(transparent)]
    NotUnderWay(#[from] NotUnderWay),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ends the shipment and gives it as it is then. Told once, however often and by however many it is noted.
///
/// # Errors
/// If the shipment is unknown or came to another end, the store does not answer, or somebody else keeps being faster.
pub async fn end_shipment(
    shipments: &impl Shipments,
    id: ShipmentId,
    ending: Ending,
    trace: &Traceparent,
) -> Result<Shipment, EndShipmentError> {
    for _ in 0..ATTEMPTS {
        let found = shipments.find(id, None).await?;
        let mut shipment = found.ok_or(EndShipmentError::UnknownShipment)?;
        let Some(event) = shipment.end(ending.clone(), Timestamp::now())? else {
            return Ok(shipment);
        };
        let arrived = Arrived {
            shipment,
            outgoing: Some(Outgoing::now(event, trace)),
            handled: Vec::new(),
        };
        match shipments.store_arrived(std::slice::from_ref(&arrived)).await {
            Ok(stored) if stored.contains(&id) => return Ok(arrived.shipment),
            Ok(_) | Err(StoreError::Contention) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::create_shipment;
    use crate::application::store_in_memory::{Fault, InMemory};
    use crate::domain::{Arrival, FailureReason, ShipmentState, ShipmentStatus};
    use futures::executor::block_on;

    fn shipped(store: &InMemory) -> Shipment {
        let order_id = store.with_paid_order();
        block_on(create_shipment(
            store,
            Arrival::Told,
            order_id,
            &Traceparent::random(),
        ))
        .unwrap()
    }

    fn hand_over(store: &InMemory, id: ShipmentId) -> Result<Shipment, EndShipmentError> {
        block_on(end_shipment(store, id, Ending::Delivered, &Traceparent::random()))
    }

    #[test]
    fn a_shipment_is_delivered_and_told_once() {
        let store = InMemory::default();
        let shipment = shipped(&store);
        let first = hand_over(&store, shipment.id).unwrap();
        assert_eq!(first.state, ShipmentState::Delivered);
        let second = hand_over(&store, shipment.id).unwrap();
        assert_eq!(second.updated_at, first.updated_at);
        assert_eq!(store.told(), ["ShipmentCreated", "ShipmentDelivered"]);
    }

    #[test]
    fn two_couriers_at_once_tell_it_once() {
        // The first store is the shipment's own; another courier is faster than the second.
        let store = InMemory::failing([Fault::None, Fault::Raced]);
        let shipment = shipped(&store);
        assert!(hand_over(&store, shipment.id).is_ok());
        assert_eq!(store.told(), ["ShipmentCreated", "ShipmentDelivered"]);
    }

    #[test]
    fn a_shipment_that_is_unknown_or_failed_is_not_delivered() {
        let store = InMemory::default();
        let refused = hand_over(&store, ShipmentId::new()).unwrap_err();
        assert!(matches!(refused, EndShipmentError::UnknownShipment));
        let shipment = shipped(&store);
        store.set_state(shipment.id, ShipmentState::Cancelled);
        let refused = hand_over(&store, shipment.id).unwrap_err();
        assert!(matches!(
            refused,
            EndShipmentError::NotUnderWay(NotUnderWay(ShipmentStatus::Cancelled))
        ));
    }

    #[test]
    fn a_shipment_that_failed_is_told_once_and_not_delivered_afterwards() {
        let store = InMemory::default();
        let shipment = shipped(&store);
        let fail = |reason: &str| {
            let reason = FailureReason::try_from(reason.to_owned()).unwrap();
            let ending = Ending::Failed(reason);
            block_on(end_shipment(&store, shipment.id, ending, &Traceparent::random()))
        };
        let first = fail("nobody at home").unwrap();
        let again = fail("the dog").unwrap();
        assert_eq!(again.state, first.state);
        let refused = hand_over(&store, shipment.id).unwrap_err();
        assert!(matches!(
            refused,
            EndShipmentError::NotUnderWay(NotUnderWay(ShipmentStatus::Failed))
        ));
        assert_eq!(store.told(), ["ShipmentCreated", "ShipmentFailed"]);
    }
}
