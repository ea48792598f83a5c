//! What goes over the wire, and the one fallible step from there into the domain.

use crate::domain::{FailureReason, Shipment};
use contracts::{OrderId, ShipmentId, Timestamp, UserId};
#[cfg(test)]
use description::values;
use serde::{Deserialize, Serialize};
use service::{FieldErrors, Problem};

/// The body of `POST /delivery/create`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = NewShipment))]
#[serde(deny_unknown_fields)]
pub(super) struct NewShipment {
    #[cfg_attr(test, schema(schema_with = values::id))]
    order_id: String,
}

impl NewShipment {
    pub(super) fn into_order_id(self) -> Result<OrderId, Problem> {
        let mut errors = FieldErrors::new();
        let order_id = errors.check("order_id", self.order_id.parse());
        errors.finish(order_id)
    }
}

/// The body of `POST /delivery/{id}/fail`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = DeliveryFailure))]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    #[cfg_attr(test, schema(schema_with = values::failure_reason))]
    reason: String,
}

impl Failure {
    pub(super) fn into_reason(self) -> Result<FailureReason, Problem> {
        let mut errors = FieldErrors::new();
        let reason = errors.check("reason", self.reason.try_into());
        errors.finish(reason)
    }
}

/// The body of a request that says nothing but its path.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Nothing))]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A shipment as clients see it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Shipment))]
pub(super) struct ShipmentBody {
    id: ShipmentId,
    order_id: OrderId,
    user_id: UserId,
    #[cfg_attr(test, schema(schema_with = values::shipment_status))]
    status: &'static str,
    #[cfg_attr(test, schema(schema_with = values::tracking_number))]
    tracking_number: String,
    delivery_address: String,
    failure_reason: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Shipment> for ShipmentBody {
    fn from(shipment: Shipment) -> Self {
        Self {
            id: shipment.id,
            order_id: shipment.order_id,
            user_id: shipment.user_id,
            status: shipment.state.status().as_str(),
            tracking_number: shipment.tracking_number.to_string(),
            failure_reason: shipment.state.failure_reason().map(str::to_owned),
            delivery_address: shipment.delivery_address,
            created_at: shipment.created_at,
            updated_at: shipment.updated_at,
        }
    }
}
