//! Notes that a courier handed a shipment over.

use super::ATTEMPTS;
use super::ports::{Outgoing, Shipments};
use crate::domain::{NotUnderWay, Shipment};
use contracts::{ShipmentId, Timestamp};
use service::StoreError;
use service::trace::Traceparent;

/// Why a shipment was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    #[error("there is no such shipment")]
    UnknownShipment,
    #[error(transparent)]
    NotUnderWay(#[from] NotUnderWay),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Delivers the shipment and gives it as it is then. Told once, however often and by however many it is noted.
///
/// # Errors
/// If the shipment is unknown or came to another end, the store does not answer, or somebody else keeps being faster.
pub async fn deliver(
    shipments: &impl Shipments,
    id: ShipmentId,
    trace: &Traceparent,
) -> Result<Shipment, DeliverError> {
    for _ in 0..ATTEMPTS {
        let found = shipments.find(id, None).await?;
        let mut shipment = found.ok_or(DeliverError::UnknownShipment)?;
        let Some(event) = shipment.deliver(Timestamp::now())? else {
            return Ok(shipment);
        };
        let outgoing = Outgoing {
            event,
            trace: trace.clone(),
        };
        match shipments.store_shipment(&shipment, &outgoing).await {
            Ok(true) => return Ok(shipment),
            Ok(false) | Err(StoreError::Contention) => {}
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
    use crate::domain::{ShipmentState, ShipmentStatus};
    use futures::executor::block_on;

    fn shipped(store: &InMemory) -> Shipment {
        let order_id = store.with_paid_order();
        block_on(create_shipment(store, order_id, &Traceparent::random())).unwrap()
    }

    fn hand_over(store: &InMemory, id: ShipmentId) -> Result<Shipment, DeliverError> {
        block_on(deliver(store, id, &Traceparent::random()))
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
        assert!(matches!(refused, DeliverError::UnknownShipment));
        let shipment = shipped(&store);
        store.set_state(shipment.id, ShipmentState::Cancelled);
        let refused = hand_over(&store, shipment.id).unwrap_err();
        assert!(matches!(
            refused,
            DeliverError::NotUnderWay(NotUnderWay(ShipmentStatus::Cancelled))
        ));
    }
}
