//! Ships a paid order on request.

use super::ATTEMPTS;
use super::ports::{Change, Outgoing, Shipments};
use crate::domain::{AlreadyShipped, Arrival, Shipment, TrackingNumber};
use contracts::{OrderId, Timestamp};
use service::StoreError;
use service::trace::Traceparent;

/// Why no shipment was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateShipmentError {
    #[error("delivery has not heard of the order")]
    UnknownOrder,
    #[error(transparent)]
    AlreadyShipped(#[from] AlreadyShipped),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ships the order, and gives the shipment as it was stored.
///
/// # Errors
/// If the order is unknown or was shipped before, the store does not answer, or somebody else keeps being faster.
pub async fn create_shipment(
    shipments: &impl Shipments,
    arrival: Arrival,
    order_id: OrderId,
    trace: &Traceparent,
) -> Result<Shipment, CreateShipmentError> {
    for _ in 0..ATTEMPTS {
        let loaded = shipments.load(&[order_id], &[]).await?;
        let mut order = loaded
            .orders
            .into_iter()
            .next()
            .ok_or(CreateShipmentError::UnknownOrder)?;
        let now = Timestamp::now();
        let shipped = order.ship(TrackingNumber::random(), arrival, now)?;
        let shipment = shipped.shipment;
        let change = Change {
            order,
            shipment: Some(shipment.clone()),
            at: now,
            outgoing: Outgoing::all(shipped.announcements, trace),
            handled: Vec::new(),
        };
        match shipments.store(&[change]).await {
            Ok(stored) if stored.contains(&order_id) => return Ok(shipment),
            // Somebody was faster, or the tracking number is taken.
            Ok(_) | Err(StoreError::Contention | StoreError::Constraint(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::store_in_memory::{Fault, InMemory};
    use futures::executor::block_on;

    fn create(store: &InMemory, order_id: OrderId) -> Result<Shipment, CreateShipmentError> {
        block_on(create_shipment(
            store,
            Arrival::Told,
            order_id,
            &Traceparent::random(),
        ))
    }

    #[test]
    fn a_paid_order_is_shipped_once() {
        let store = InMemory::default();
        let order_id = store.with_paid_order();
        let shipment = create(&store, order_id).unwrap();
        assert_eq!(store.shipment_of(order_id), Some(shipment.clone()));
        let again = create(&store, order_id).unwrap_err();
        assert!(
            matches!(again, CreateShipmentError::AlreadyShipped(AlreadyShipped(id)) if id == shipment.id)
        );
        assert_eq!(store.told(), ["ShipmentCreated"]);
    }

    #[test]
    fn an_order_that_delivery_has_not_heard_of_is_not_shipped() {
        let refused = create(&InMemory::default(), OrderId::new()).unwrap_err();
        assert!(matches!(refused, CreateShipmentError::UnknownOrder));
    }

    #[test]
    fn a_shipment_that_came_too_late_is_decided_again() {
        for fault in [Fault::Raced, Fault::Contention, Fault::Constraint] {
            let store = InMemory::failing([fault]);
            let order_id = store.with_paid_order();
            assert!(create(&store, order_id).is_ok());
            assert_eq!(store.told(), ["ShipmentCreated"]);
        }
        let store = InMemory::failing([Fault::Raced; 3]);
        let order_id = store.with_paid_order();
        let refused = create(&store, order_id).unwrap_err();
        assert!(matches!(
            refused,
            CreateShipmentError::Store(StoreError::Contention)
        ));
    }
}
