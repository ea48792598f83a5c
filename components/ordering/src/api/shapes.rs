//! What goes over the wire, and the one fallible step from there into the domain.

use crate::application::{PlaceOrder, StoredHistory, StoredHistoryItem};
use crate::domain::{Address, Cart, CartLine, Customer, Order, OrderItem, Product, Quantity, StatusReason};
use contracts::{BouquetId, FlowerId, Money, OrderId, OrderItemId, PaymentMethod, Timestamp, UserId};
#[cfg(test)]
use description::values;
use serde::{Deserialize, Serialize};
use service::idempotency::IdempotencyKey;
use service::json::{Object, whole};
use service::trace::Traceparent;
use service::{FieldErrors, Problem};
use uuid::Uuid;

/// The body of `POST /orders`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = NewOrder))]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    #[cfg_attr(test, schema(schema_with = values::order_items))]
    items: Vec<Object<NewLine>>,
    #[cfg_attr(test, schema(schema_with = values::address))]
    delivery_address: String,
    #[cfg_attr(test, schema(schema_with = values::nullable::payment_method))]
    payment_method: Option<String>,
    #[cfg_attr(test, schema(schema_with = values::nullable::money))]
    expected_total: Option<Money>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLine {
    flower_id: Option<String>,
    bouquet_id: Option<String>,
    #[serde(deserialize_with = "whole")]
    quantity: i64,
}

impl NewOrder {
    pub(super) fn into_command(
        self,
        user_id: UserId,
        key: Option<IdempotencyKey>,
        trace: Traceparent,
    ) -> Result<PlaceOrder, Problem> {
        let mut errors = FieldErrors::new();
        let lines: Vec<_> = self
            .items
            .into_iter()
            .enumerate()
            .filter_map(|(position, Object(line))| line.into_line(position, &mut errors))
            .collect();
        let cart = errors.check("items", Cart::try_from(lines));
        let delivery_address = errors.check("delivery_address", Address::try_from(self.delivery_address));
        let payment_method = match self.payment_method {
            Some(name) => errors.check("payment_method", name.parse()),
            None => Some(PaymentMethod::default()),
        };
        let (cart, delivery_address, payment_method) = errors.finish(
            cart.zip(delivery_address)
                .zip(payment_method)
                .map(|((c, d), p)| (c, d, p)),
        )?;
        Ok(PlaceOrder {
            customer: Customer {
                user_id,
                delivery_address,
                payment_method,
            },
            cart,
            expected_total: self.expected_total,
            key,
            trace,
        })
    }
}

impl NewLine {
    fn into_line(self, position: usize, errors: &mut FieldErrors) -> Option<CartLine> {
        let field = |name: &str| format!("items[{position}].{name}");
        let product = match (self.flower_id, self.bouquet_id) {
            (Some(id), None) => errors.check(field("flower_id"), id.parse()).map(Product::Flower),
            (None, Some(id)) => errors
                .check(field("bouquet_id"), id.parse())
                .map(Product::Bouquet),
            _ => {
                errors.add(
                    format!("items[{position}]"),
                    "must have exactly one of flower_id and bouquet_id",
                );
                None
            }
        };
        let quantity = errors.check(field("quantity"), Quantity::try_from(self.quantity));
        product
            .zip(quantity)
            .map(|(product, quantity)| CartLine { product, quantity })
    }
}

/// An order as clients see it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Order))]
pub(super) struct OrderBody {
    id: OrderId,
    user_id: UserId,
    #[cfg_attr(test, schema(schema_with = values::order_status))]
    status: &'static str,
    #[cfg_attr(test, schema(schema_with = values::nullable::status_reason))]
    status_reason: Option<&'static str>,
    total_amount: Money,
    delivery_address: String,
    payment_method: PaymentMethod,
    payment_due_at: Option<Timestamp>,
    items: Vec<ItemBody>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = OrderItem))]
struct ItemBody {
    id: OrderItemId,
    flower_id: Option<FlowerId>,
    bouquet_id: Option<BouquetId>,
    #[cfg_attr(test, schema(schema_with = values::quantity))]
    quantity: u32,
    price: Money,
}

impl From<&Order> for OrderBody {
    fn from(order: &Order) -> Self {
        let item = |item: &OrderItem| {
            let (flower_id, bouquet_id) = match item.product {
                Product::Flower(id) => (Some(id), None),
                Product::Bouquet(id) => (None, Some(id)),
            };
            ItemBody {
                id: item.id,
                flower_id,
                bouquet_id,
                quantity: item.quantity.get(),
                price: item.price,
            }
        };
        Self {
            id: order.id,
            user_id: order.user_id,
            status: order.status.as_str(),
            status_reason: order.status_reason.map(StatusReason::as_str),
            total_amount: order.total,
            delivery_address: order.delivery_address.clone(),
            payment_method: order.payment_method,
            payment_due_at: order.payment_due_at,
            items: order.items.iter().map(item).collect(),
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

/// The body of a request that says nothing but its path.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Nothing))]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The body of `GET /orders/{id}/history`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = History))]
pub(super) struct HistoryBody {
    items: Vec<HistoryItemBody>,
    /// Facts that are no change of status.
    notes: Vec<NoteBody>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = HistoryItem))]
struct HistoryItemBody {
    #[cfg_attr(test, schema(schema_with = values::order_status))]
    status: String,
    #[serde(flatten)]
    origin: OriginBody,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = HistoryNoteItem))]
struct NoteBody {
    #[cfg_attr(test, schema(schema_with = values::history_note))]
    note: String,
    #[serde(flatten)]
    origin: OriginBody,
}

/// When something happened, and what brought it about.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = HistoryOrigin))]
struct OriginBody {
    at: Timestamp,
    cause: String,
    #[cfg_attr(test, schema(schema_with = values::nullable::id))]
    event_id: Option<Uuid>,
    trace_id: String,
}

impl StoredHistoryItem {
    fn split(self) -> (String, OriginBody) {
        let origin = OriginBody {
            at: self.at,
            cause: self.cause,
            event_id: self.event_id,
            trace_id: self.trace_id,
        };
        (self.what, origin)
    }
}

impl From<StoredHistory> for HistoryBody {
    fn from(history: StoredHistory) -> Self {
        let item = |item: StoredHistoryItem| {
            let (status, origin) = item.split();
            HistoryItemBody { status, origin }
        };
        let note = |item: StoredHistoryItem| {
            let (note, origin) = item.split();
            NoteBody { note, origin }
        };
        Self {
            items: history.items.into_iter().map(item).collect(),
            notes: history.notes.into_iter().map(note).collect(),
        }
    }
}
