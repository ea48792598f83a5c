//! A shipment on its way, and how it ends.

use super::tracking_number::TrackingNumber;
use contracts::{Event, OrderId, ShipmentDelivered, ShipmentId, Timestamp, UserId};
use std::str::FromStr;

/// The bare word for where a shipment is. All but `Shipped` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShipmentStatus {
    Shipped,
    Delivered,
    Failed,
    Cancelled,
}

/// A word that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of shipped, delivered, failed, cancelled")]
pub struct UnknownStatus;

impl ShipmentStatus {
    const ALL: [Self; 4] = [Self::Shipped, Self::Delivered, Self::Failed, Self::Cancelled];

    /// The spelling in answers and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for ShipmentStatus {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or(UnknownStatus)
    }
}

/// Where a shipment is, with what is known there and nowhere else: only one that failed has a reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShipmentState {
    Shipped,
    Delivered,
    Failed { reason: String },
    Cancelled,
}

impl ShipmentState {
    /// The state that was taken apart into these words.
    ///
    /// # Errors
    /// If they contradict each other.
    pub fn from_words(status: ShipmentStatus, failure_reason: Option<String>) -> Result<Self, UnknownStatus> {
        match (status, failure_reason) {
            (ShipmentStatus::Shipped, None) => Ok(Self::Shipped),
            (ShipmentStatus::Delivered, None) => Ok(Self::Delivered),
            (ShipmentStatus::Failed, Some(reason)) => Ok(Self::Failed { reason }),
            (ShipmentStatus::Cancelled, None) => Ok(Self::Cancelled),
            _ => Err(UnknownStatus),
        }
    }

    #[must_use]
    pub fn status(&self) -> ShipmentStatus {
        match self {
            Self::Shipped => ShipmentStatus::Shipped,
            Self::Delivered => ShipmentStatus::Delivered,
            Self::Failed { .. } => ShipmentStatus::Failed,
            Self::Cancelled => ShipmentStatus::Cancelled,
        }
    }

    #[must_use]
    pub fn failure_reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } => Some(reason),
            Self::Shipped | Self::Delivered | Self::Cancelled => None,
        }
    }
}

/// A shipment that came to another end cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shipment is {} already", .0.as_str())]
pub struct NotUnderWay(pub ShipmentStatus);

/// A shipment. It is born `Shipped`, with a tracking number.
#[derive(Clone, Debug, PartialEq)]
pub struct Shipment {
    pub id: ShipmentId,
    pub order_id: OrderId,
    pub user_id: UserId,
    pub delivery_address: String,
    pub tracking_number: TrackingNumber,
    pub state: ShipmentState,
    /// Raised by every change.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Shipment {
    /// A courier handed it over. Gives the event that tells of it, or `None` if that was known: no change then.
    ///
    /// # Errors
    /// If it came to another end before.
    pub fn deliver(&mut self, now: Timestamp) -> Result<Option<Event>, NotUnderWay> {
        match self.state {
            ShipmentState::Shipped => {
                self.state = ShipmentState::Delivered;
                self.updated_at = now;
                let event = ShipmentDelivered {
                    order_id: self.order_id,
                    shipment_id: self.id,
                };
                Ok(Some(event.into()))
            }
            ShipmentState::Delivered => Ok(None),
            ShipmentState::Failed { .. } | ShipmentState::Cancelled => Err(NotUnderWay(self.state.status())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(state: ShipmentState) -> Shipment {
        let now = Timestamp::now();
        Shipment {
            id: ShipmentId::new(),
            order_id: OrderId::new(),
            user_id: UserId::new(),
            delivery_address: "1 Rose Street".to_owned(),
            tracking_number: TrackingNumber::random(),
            state,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    fn failed() -> ShipmentState {
        ShipmentState::Failed {
            reason: "nobody at home".to_owned(),
        }
    }

    #[test]
    fn a_shipment_that_is_handed_over_is_delivered_and_tells_it() {
        let mut shipment = given(ShipmentState::Shipped);
        let event = shipment.deliver(Timestamp::now()).unwrap();
        assert_eq!(shipment.state, ShipmentState::Delivered);
        let expected = ShipmentDelivered {
            order_id: shipment.order_id,
            shipment_id: shipment.id,
        };
        assert_eq!(event, Some(expected.into()));
    }

    #[test]
    fn a_shipment_is_delivered_once() {
        let mut shipment = given(ShipmentState::Delivered);
        let before = shipment.clone();
        assert_eq!(shipment.deliver(Timestamp::now()), Ok(None));
        assert_eq!(shipment, before);
    }

    #[test]
    fn a_shipment_that_failed_or_was_cancelled_is_not_delivered() {
        for state in [failed(), ShipmentState::Cancelled] {
            let mut shipment = given(state);
            let before = shipment.clone();
            let refused = Err(NotUnderWay(before.state.status()));
            assert_eq!(shipment.deliver(Timestamp::now()), refused);
            assert_eq!(shipment, before);
        }
    }

    #[test]
    fn a_state_reads_back_from_its_words_and_contradictions_do_not() {
        let states = [
            ShipmentState::Shipped,
            ShipmentState::Delivered,
            failed(),
            ShipmentState::Cancelled,
        ];
        for state in states {
            let status = state.status().as_str().parse().unwrap();
            let reason = state.failure_reason().map(str::to_owned);
            assert_eq!(ShipmentState::from_words(status, reason), Ok(state));
        }
        for status in ShipmentStatus::ALL {
            let reason = (status != ShipmentStatus::Failed).then(|| "rain".to_owned());
            assert_eq!(ShipmentState::from_words(status, reason), Err(UnknownStatus));
        }
    }
}
