//! An order as delivery knows it: paid, and shipped once.

use super::shipment::{Arrival, Shipment, ShipmentState};
use super::tracking_number::TrackingNumber;
use contracts::{DeliveryDue, Event, OrderId, ShipmentCreated, ShipmentId, Timestamp, UserId};

/// When a paid order is shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipping {
    /// As soon as delivery hears of it.
    Automatic,
    /// When an admin asks for it.
    OnRequest,
}

/// How this shop delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub shipping: Shipping,
    pub arrival: Arrival,
}

/// An event to be told: at once, or when it is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    pub event: Event,
    pub due_at: Option<Timestamp>,
}

/// A new shipment, and what is to be told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shipped {
    pub shipment: Shipment,
    pub announcements: Vec<Announcement>,
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

    /// Ships it. Where a timer says when it arrives, that is set by the same.
    ///
    /// # Errors
    /// If it was shipped before.
    pub fn ship(
        &mut self,
        tracking_number: TrackingNumber,
        arrival: Arrival,
        now: Timestamp,
    ) -> Result<Shipped, AlreadyShipped> {
        if let Some(id) = self.shipment_id {
            return Err(AlreadyShipped(id));
        }
        let (order_id, shipment_id) = (self.paid.id, ShipmentId::new());
        self.shipment_id = Some(shipment_id);
        let shipment = Shipment {
            id: shipment_id,
            order_id,
            user_id: self.paid.user_id,
            delivery_address: self.paid.delivery_address.clone(),
            tracking_number,
            state: ShipmentState::Shipped,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let created = ShipmentCreated {
            order_id,
            shipment_id,
            tracking_number: shipment.tracking_number.to_string(),
        };
        let mut announcements = vec![Announcement {
            event: created.into(),
            due_at: None,
        }];
        if let Arrival::After(duration) = arrival {
            announcements.push(Announcement {
                event: DeliveryDue {
                    order_id,
                    shipment_id,
                }
                .into(),
                due_at: Some(now.plus(duration)),
            });
        }
        Ok(Shipped {
            shipment,
            announcements,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn paid() -> PaidOrder {
        PaidOrder {
            id: OrderId::new(),
            user_id: UserId::new(),
            delivery_address: "1 Rose Street".to_owned(),
        }
    }

    fn ship(order: &mut Order, arrival: Arrival, now: Timestamp) -> Result<Shipped, AlreadyShipped> {
        order.ship(TrackingNumber::random(), arrival, now)
    }

    #[test]
    fn a_paid_order_is_shipped_to_its_address_and_tells_the_tracking_number() {
        let mut order = Order::new(paid());
        let shipped = ship(&mut order, Arrival::Told, Timestamp::now()).unwrap();
        let shipment = shipped.shipment;
        assert_eq!(shipment.state, ShipmentState::Shipped);
        assert_eq!(shipment.delivery_address, order.paid.delivery_address);
        assert_eq!(shipment.user_id, order.paid.user_id);
        let expected = ShipmentCreated {
            order_id: order.id(),
            shipment_id: shipment.id,
            tracking_number: shipment.tracking_number.to_string(),
        };
        let told = Announcement {
            event: expected.into(),
            due_at: None,
        };
        assert_eq!(shipped.announcements, [told]);
    }

    #[test]
    fn where_delivery_is_automatic_a_timer_is_set_with_the_shipment() {
        let now = Timestamp::now();
        let mut order = Order::new(paid());
        let shipped = ship(&mut order, Arrival::After(Duration::from_secs(60)), now).unwrap();
        let timer = shipped.announcements.last().unwrap();
        let due = DeliveryDue {
            order_id: order.id(),
            shipment_id: shipped.shipment.id,
        };
        assert_eq!(timer.event, due.into());
        assert_eq!(timer.due_at.unwrap().seconds_since(now), 60);
    }

    #[test]
    fn an_order_is_shipped_once() {
        let mut order = Order::new(paid());
        let shipped = ship(&mut order, Arrival::Told, Timestamp::now()).unwrap();
        let again = ship(&mut order, Arrival::Told, Timestamp::now());
        assert_eq!(again.unwrap_err(), AlreadyShipped(shipped.shipment.id));
    }
}
