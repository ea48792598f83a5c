//! The events, by the architecture's names. Each carries what its consumers need, so that none has to ask back.
//! Consumers tolerate fields that they do not know; a change that they could not bear raises the schema version.

use crate::{
    BouquetId, EventId, FlowerId, Money, OrderId, PaymentId, PaymentMethod, ShipmentId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// One line of an order; exactly one of the two ids is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct OrderLine {
    pub flower_id: Option<FlowerId>,
    pub bouquet_id: Option<BouquetId>,
    pub quantity: u32,
    /// The price of one.
    pub price: Money,
}

/// An order was placed: payment is asked to collect its total.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct OrderCreated {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub total: Money,
    pub payment_method: PaymentMethod,
    /// No charge starts after it; `None` for an order that was placed before there were deadlines.
    #[serde(default)]
    pub payment_due_at: Option<Timestamp>,
    pub items: Vec<OrderLine>,
}

/// A timer of ordering's own: the order's payment deadline has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct PaymentDeadlinePassed {
    pub order_id: OrderId,
}

/// A timer of payment's own: a charge that a request started is looked up, should it have got no answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct ChargeLookUpDue {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
}

/// The provider took the money.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct PaymentCompleted {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    /// Which attempt to pay the order this was, from 1.
    pub attempt: u32,
    pub amount: Money,
    pub transaction_id: String,
}

/// The provider declined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct PaymentFailed {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    /// Which attempt to pay the order this was, from 1.
    pub attempt: u32,
    /// The provider's word for it: `card_declined`.
    pub reason: String,
}

/// What was taken for an order that was cancelled has been given back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct PaymentRefunded {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    /// Which attempt to pay the order this was, from 1.
    pub attempt: u32,
    pub amount: Money,
}

/// Everything that the order needs is kept for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct StockReserved {
    pub order_id: OrderId,
}

/// Nothing is kept for the order: there is not enough of something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct StockRejected {
    pub order_id: OrderId,
    /// `out_of_stock`.
    pub reason: String,
}

/// An order is paid and its stock reserved: delivery is asked to ship it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct OrderPaid {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub delivery_address: String,
}

/// A shipment is on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct ShipmentCreated {
    pub order_id: OrderId,
    pub shipment_id: ShipmentId,
    pub tracking_number: String,
}

/// The courier handed the shipment over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct ShipmentDelivered {
    pub order_id: OrderId,
    pub shipment_id: ShipmentId,
}

/// The shipment could not be delivered, and comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct ShipmentFailed {
    pub order_id: OrderId,
    pub shipment_id: ShipmentId,
    /// The courier's words.
    pub reason: String,
}

/// A timer of delivery's own: where delivery is automatic, the shipment arrives now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct DeliveryDue {
    pub order_id: OrderId,
    pub shipment_id: ShipmentId,
}

/// The saga came to its good end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct OrderCompleted {
    pub order_id: OrderId,
}

/// The order will never be delivered: stock and money go back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct OrderCancelled {
    pub order_id: OrderId,
    /// The order's `status_reason`: `out_of_stock`, `cancelled_by_user`, …
    pub reason: String,
}

/// A flower is new, or its name, price or existence changed. Never sent for a change of stock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct FlowerChanged {
    pub flower_id: FlowerId,
    /// The flower's own version: of two changes, the higher is the newer.
    pub version: i64,
    pub name: String,
    pub price: Money,
    pub deleted: bool,
}

/// A bouquet is new, or its name, price or existence changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct BouquetChanged {
    pub bouquet_id: BouquetId,
    /// The bouquet's own version: of two changes, the higher is the newer.
    pub version: i64,
    pub name: String,
    pub price: Money,
    pub deleted: bool,
}

/// An event about an order is a dead letter: the order waits for an operator. The bridge's own word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct EventDeadLettered {
    pub order_id: OrderId,
    /// The dead event's type; `None` of one that cannot be read.
    pub event_type: Option<String>,
    /// Where it died.
    pub queue: String,
}

/// An operator looked at a dead letter about an order. The bridge's own word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "description", derive(utoipa::ToSchema))]
pub struct DeadLetterResolved {
    pub order_id: OrderId,
    /// The dead event's type; `None` of one that cannot be read.
    pub event_type: Option<String>,
    /// Where it died.
    pub queue: String,
    /// `retried` or `discarded`.
    pub resolution: String,
}

/// What a description says of an event.
#[cfg(feature = "description")]
#[derive(Clone, Copy, Debug)]
pub struct DescribedEvent {
    pub event_type: &'static str,
    pub source: &'static str,
    pub routing_key: &'static str,
    pub schema_version: u64,
    /// The field of its data that is its subject, too.
    pub about: &'static str,
    pub queues: &'static [&'static str],
}

/// Data of a type or version that this program does not read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown event type {0:?}")]
    UnknownType(String),
    /// A rolling deployment may be under way: the event is worth waiting with (R5).
    #[error("{event_type} of schema version {version}; versions up to {known} are known")]
    NewerVersion {
        event_type: String,
        version: u64,
        known: u64,
    },
    #[error("the data is no {event_type}: {source}")]
    Invalid {
        event_type: String,
        source: serde_json::Error,
    },
}

/// The schema version of `PaymentCompleted`; another one in what stands for the next release.
const PAYMENT_COMPLETED: u64 = if cfg!(feature = "next-release") { 2 } else { 1 };

macro_rules! events {
    ($($name:ident { source: $source:literal, key: $key:literal, version: $version:expr, about: $about:ident,
        queues: [$($queue:literal),*] })+) => {
        /// Any event of the shop.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $($name($name),)+
        }

        impl Event {
            /// Every event: its type, routing key and the queues that it has to reach.
            pub const ALL: &'static [(&'static str, &'static str, &'static [&'static str])] =
                &[$((stringify!($name), $key, &[$($queue),*])),+];

            /// The CloudEvents `type`: `OrderCreated`.
            #[must_use]
            pub fn event_type(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)+ }
            }

            /// The AMQP routing key: `order.created`.
            #[must_use]
            pub fn routing_key(&self) -> &'static str {
                match self { $(Self::$name(_) => $key,)+ }
            }

            /// The CloudEvents `source`: the service that says it.
            #[must_use]
            pub fn source(&self) -> &'static str {
                match self { $(Self::$name(_) => $source,)+ }
            }

            /// The CloudEvents `subject`: the id of the source's aggregate, which also orders its events.
            #[must_use]
            pub fn aggregate_id(&self) -> Uuid {
                match self { $(Self::$name(event) => event.$about.as_uuid(),)+ }
            }

            /// The `data` member, with its `schema_version`.
            ///
            /// # Errors
            /// Never for the types above; serialisation is fallible by its signature.
            pub fn to_data(&self) -> Result<Value, serde_json::Error> {
                let (mut data, version) = match self {
                    $(Self::$name(event) => (serde_json::to_value(event)?, $version),)+
                };
                if let Value::Object(fields) = &mut data {
                    fields.insert("schema_version".to_owned(), Value::from(version));
                    #[cfg(feature = "next-release")]
                    if matches!(self, Self::PaymentCompleted(_)) {
                        fields.insert("receipt".to_owned(), Value::from("of the next release"));
                    }
                }
                Ok(data)
            }

            /// Reads the `data` of an event of this type.
            ///
            /// # Errors
            /// If the type is unknown, the version newer than known, or the data not of the type's shape.
            pub fn decode(event_type: &str, data: Value) -> Result<Self, DecodeError> {
                let version = data.get("schema_version").and_then(Value::as_u64).unwrap_or(1);
                match event_type {
                    $(stringify!($name) if version > $version => Err(DecodeError::NewerVersion {
                        event_type: event_type.to_owned(), version, known: $version,
                    }),
                    stringify!($name) => serde_json::from_value(data).map(Self::$name).map_err(|source| {
                        DecodeError::Invalid { event_type: event_type.to_owned(), source }
                    }),)+
                    other => Err(DecodeError::UnknownType(other.to_owned())),
                }
            }
        }

        #[cfg(feature = "description")]
        impl Event {
            /// Every event.
            pub const DESCRIBED: &'static [DescribedEvent] = &[$(DescribedEvent {
                event_type: stringify!($name),
                source: $source,
                routing_key: $key,
                schema_version: $version,
                about: stringify!($about),
                queues: &[$($queue),*],
            }),+];

            /// The schema of every event's data, by its type, and of whatever they refer to.
            #[must_use]
            pub fn schemas() -> Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)> {
                let mut schemas = Vec::new();
                $(
                    schemas.push((stringify!($name).to_owned(), <$name as utoipa::PartialSchema>::schema()));
                    <$name as utoipa::ToSchema>::schemas(&mut schemas);
                )+
                schemas
            }
        }

        $(impl From<$name> for Event {
            fn from(event: $name) -> Self {
                Self::$name(event)
            }
        })+
    };
}

events! {
    OrderCreated {
        source: "ordering", key: "order.created", version: 1, about: order_id,
        queues: ["payment_order_events", "catalog_order_events"]
    }
    OrderCancelled {
        source: "ordering", key: "order.cancelled", version: 1, about: order_id,
        queues: ["payment_order_events", "catalog_order_events"]
    }
    PaymentDeadlinePassed {
        source: "ordering", key: "self.ordering.payment_deadline", version: 1, about: order_id,
        queues: ["ordering_self"]
    }
    StockReserved {
        source: "catalog", key: "stock.reserved", version: 1, about: order_id, queues: ["ordering_stock_events"]
    }
    StockRejected {
        source: "catalog", key: "stock.rejected", version: 1, about: order_id, queues: ["ordering_stock_events"]
    }
    PaymentCompleted {
        source: "payment", key: "payment.completed", version: PAYMENT_COMPLETED, about: payment_id, queues: ["ordering_payment_events"]
    }
    PaymentFailed {
        source: "payment", key: "payment.failed", version: 1, about: payment_id, queues: ["ordering_payment_events"]
    }
    PaymentRefunded {
        source: "payment", key: "payment.refunded", version: 1, about: payment_id, queues: ["ordering_payment_events"]
    }
    ChargeLookUpDue {
        source: "payment", key: "self.payment.charge_look_up", version: 1, about: payment_id, queues: ["payment_self"]
    }
    OrderPaid {
        source: "ordering", key: "order.paid", version: 1, about: order_id, queues: ["delivery_order_events"]
    }
    ShipmentCreated {
        source: "delivery", key: "shipment.created", version: 1, about: shipment_id,
        queues: ["ordering_delivery_events"]
    }
    ShipmentDelivered {
        source: "delivery", key: "shipment.delivered", version: 1, about: shipment_id,
        queues: ["ordering_delivery_events"]
    }
    ShipmentFailed {
        source: "delivery", key: "shipment.failed", version: 1, about: shipment_id,
        queues: ["ordering_delivery_events"]
    }
    DeliveryDue {
        source: "delivery", key: "self.delivery.delivery_due", version: 1, about: shipment_id,
        queues: ["delivery_self"]
    }
    OrderCompleted {
        source: "ordering", key: "order.completed", version: 1, about: order_id, queues: ["catalog_order_events"]
    }
    FlowerChanged {
        source: "catalog", key: "flower.changed", version: 1, about: flower_id, queues: ["ordering_catalog_events"]
    }
    BouquetChanged {
        source: "catalog", key: "bouquet.changed", version: 1, about: bouquet_id, queues: ["ordering_catalog_events"]
    }
    EventDeadLettered {
        source: "bridge", key: "bridge.dead_lettered", version: 1, about: order_id, queues: ["ordering_bridge_events"]
    }
    DeadLetterResolved {
        source: "bridge", key: "bridge.dead_letter_resolved", version: 1, about: order_id,
        queues: ["ordering_bridge_events"]
    }
}

/// An event with what a consumer needs of its envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub id: EventId,
    pub traceparent: Option<String>,
    pub occurred_at: Option<Timestamp>,
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn completed() -> Event {
        OrderCompleted {
            order_id: OrderId::new(),
        }
        .into()
    }

    #[test]
    fn an_event_reads_back_as_it_was_written() {
        let event = completed();
        assert_eq!(
            Event::decode("OrderCompleted", event.to_data().unwrap()).unwrap(),
            event
        );
    }

    #[test]
    fn fields_that_a_consumer_does_not_know_are_ignored() {
        let mut data = completed().to_data().unwrap();
        data["colour"] = json!("red");
        assert!(Event::decode("OrderCompleted", data).is_ok());
    }

    #[test]
    fn a_newer_version_is_told_from_an_unknown_type_and_from_bad_data() {
        let mut data = completed().to_data().unwrap();
        assert!(matches!(
            Event::decode("OrderEaten", data.clone()),
            Err(DecodeError::UnknownType(_))
        ));
        data["schema_version"] = json!(2);
        assert!(matches!(
            Event::decode("OrderCompleted", data),
            Err(DecodeError::NewerVersion { .. })
        ));
        assert!(matches!(
            Event::decode("OrderCompleted", json!({})),
            Err(DecodeError::Invalid { .. })
        ));
    }
}
