//! A shipment on its way, and how it ends.

use super::failure_reason::FailureReason;
use super::tracking_number::TrackingNumber;
use contracts::{Event, OrderId, ShipmentDelivered, ShipmentFailed, ShipmentId, Timestamp, UserId};
use std::str::FromStr;
use std::time::Duration;

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
    Failed { reason: FailureReason },
    Cancelled,
}

impl ShipmentState {
    /// The state that was taken apart into these words.
    ///
    /// # Errors
    /// If they contradict each other.
    pub fn from_words(status: ShipmentStatus, failure_reason: Option<String>) -> Result<Self, UnknownStatus> {
        let failure_reason = failure_reason.map(FailureReason::try_from).transpose();
        match (status, failure_reason.map_err(|_| UnknownStatus)?) {
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
            Self::Failed { reason } => Some(reason.as_str()),
            Self::Shipped | Self::Delivered | Self::Cancelled => None,
        }
    }
}

/// Who says that a shipment has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A courier.
    Told,
    /// A timer, this long after it was shipped.
    After(Duration),
}

/// What became of a shipment that was under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Delivered,
    Failed(FailureReason),
}

/// A shipment that came to another end does not come to this one.
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
    /// It comes to its end. Gives the event that tells of it, or `None` if that was known: no change then, whatever
    /// the reason was.
    ///
    /// # Errors
    /// If it came to another end before.
    pub fn end(&mut self, ending: Ending, now: Timestamp) -> Result<Option<Event>, NotUnderWay> {
        match (&self.state, ending) {
            (ShipmentState::Shipped, ending) => Ok(Some(self.arrive(ending, now))),
            (ShipmentState::Delivered, Ending::Delivered)
            | (ShipmentState::Failed { .. }, Ending::Failed(_)) => Ok(None),
            _ => Err(NotUnderWay(self.state.status())),
        }
    }

    fn arrive(&mut self, ending: Ending, now: Timestamp) -> Event {
        self.updated_at = now;
        let (order_id, shipment_id) = (self.order_id, self.id);
        match ending {
            Ending::Delivered => {
                self.state = ShipmentState::Delivered;
                ShipmentDelivered {
                    order_id,
                    shipment_id,
                }
                .into()
            }
            Ending::Failed(reason) => {
                let told = ShipmentFailed {
                    order_id,
                    shipment_id,
                    reason: reason.to_string(),
                };
                self.state = ShipmentState::Failed { reason };
                told.into()
            }
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
        ShipmentState::Failed { reason: reason() }
    }

    fn reason() -> FailureReason {
        "nobody at home".to_owned().try_into().unwrap()
    }

    #[test]
    fn a_shipment_that_is_handed_over_is_delivered_and_tells_it() {
        let mut shipment = given(ShipmentState::Shipped);
        let event = shipment.end(Ending::Delivered, Timestamp::now()).unwrap();
        assert_eq!(shipment.state, ShipmentState::Delivered);
        let expected = ShipmentDelivered {
            order_id: shipment.order_id,
            shipment_id: shipment.id,
        };
        assert_eq!(event, Some(expected.into()));
    }

    #[test]
    fn a_shipment_that_cannot_be_handed_over_fails_and_tells_why() {
        let mut shipment = given(ShipmentState::Shipped);
        let event = shipment.end(Ending::Failed(reason()), Timestamp::now()).unwrap();
        assert_eq!(shipment.state, failed());
        let expected = ShipmentFailed {
            order_id: shipment.order_id,
            shipment_id: shipment.id,
            reason: reason().to_string(),
        };
        assert_eq!(event, Some(expected.into()));
    }

    #[test]
    fn a_shipment_comes_to_one_end_once() {
        let endings = [Ending::Delivered, Ending::Failed(reason())];
        for state in [ShipmentState::Delivered, failed(), ShipmentState::Cancelled] {
            for ending in &endings {
                let mut shipment = given(state.clone());
                let before = shipment.clone();
                let same = matches!(
                    (&state, ending),
                    (ShipmentState::Delivered, Ending::Delivered)
                        | (ShipmentState::Failed { .. }, Ending::Failed(_))
                );
                let expected = if same {
                    Ok(None)
                } else {
                    Err(NotUnderWay(state.status()))
                };
                assert_eq!(
                    shipment.end(ending.clone(), Timestamp::now()),
                    expected,
                    "{state:?}"
                );
                assert_eq!(shipment, before);
            }
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
