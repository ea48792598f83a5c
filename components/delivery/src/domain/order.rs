//! An order as delivery knows it: paid, and shipped once.

use super::shipment::{Shipment, ShipmentState};
use super::tracking_number::TrackingNumber;
use contracts::{Event, OrderId, ShipmentCreated, ShipmentId, Timestamp, UserId};

/// When a paid order is shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipping {
    /// As soon as delivery hears of it.
    Automatic,
    /// When an admin asks for it.
    OnRequest,
}

/// What ordering tells of an order that was paid.
#[derive(Clone, Debug, PartialEq)]
pub struct PaidOrder {
    pub id: OrderId,
    pub user_id: UserId,
    pub delivery_address: String,
}

/// A paid order, from first contact.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub paid: PaidOrder,
    /// Raised by every handled event; 0 before the order is stored.
    pub version: i64,
    pub shipment_id: Option<ShipmentId>,
}

/// An order is shipped once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the order has a shipment already")]
pub struct AlreadyShipped(pub ShipmentId);

impl Order {
    /// Hears of an order for the first time.
    #[must_use]
    pub fn new(paid: PaidOrder) -> Self {
        Self {
            paid,
            version: 0,
            shipment_id: None,
        }
    }

    #[must_use]
    pub fn id(&self) -> OrderId {
        self.paid.id
    }

    /// Ships it: the new shipment, and the event that tells of it.
    ///
    /// # Errors
    /// If it was shipped before.
    pub fn ship(
        &mut self,
        tracking_number: TrackingNumber,
        now: Timestamp,
    ) -> Result<(Shipment, Event), AlreadyShipped> {
        if let Some(id) = self.shipment_id {
            return Err(AlreadyShipped(id));
        }
        let shipment = Shipment {
            id: ShipmentId::new(),
            order_id: self.paid.id,
            user_id: self.paid.user_id,
            delivery_address: self.paid.delivery_address.clone(),
            tracking_number,
            state: ShipmentState::Shipped,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        self.shipment_id = Some(shipment.id);
        let event = ShipmentCreated {
            order_id: self.paid.id,
            shipment_id: shipment.id,
            tracking_number: shipment.tracking_number.to_string(),
        };
        Ok((shipment, event.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid() -> PaidOrder {
        PaidOrder {
            id: OrderId::new(),
            user_id: UserId::new(),
            delivery_address: "1 Rose Street".to_owned(),
        }
    }

    #[test]
    fn a_paid_order_is_shipped_to_its_address_and_tells_the_tracking_number() {
        let mut order = Order::new(paid());
        let (shipment, event) = order.ship(TrackingNumber::random(), Timestamp::now()).unwrap();
        assert_eq!(shipment.state, ShipmentState::Shipped);
        assert_eq!(shipment.delivery_address, order.paid.delivery_address);
        assert_eq!(shipment.user_id, order.paid.user_id);
        let expected = ShipmentCreated {
            order_id: order.id(),
            shipment_id: shipment.id,
            tracking_number: shipment.tracking_number.to_string(),
        };
        assert_eq!(event, expected.into());
    }

    #[test]
    fn an_order_is_shipped_once() {
        let mut order = Order::new(paid());
        let (shipment, _) = order.ship(TrackingNumber::random(), Timestamp::now()).unwrap();
        let again = order.ship(TrackingNumber::random(), Timestamp::now());
        assert_eq!(again.unwrap_err(), AlreadyShipped(shipment.id));
    }
}
