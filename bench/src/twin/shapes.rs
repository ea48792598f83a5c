//! What goes over the wire: the same JSON as ordering's.

use super::Failure;
use contracts::{BouquetId, FlowerId, Money, OrderId, OrderItemId, PaymentMethod, Timestamp, UserId};
use ordering::domain::{Address, Cart, CartLine, Order, OrderItem, Product, Quantity, StatusReason};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    items: Vec<NewLine>,
    delivery_address: String,
    payment_method: Option<String>,
    pub(super) expected_total: Option<Money>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLine {
    flower_id: Option<String>,
    bouquet_id: Option<String>,
    quantity: i64,
}

impl NewOrder {
    /// What is ordered, where it goes and how it is paid.
    pub(super) fn into_parts(self) -> Result<(Cart, Address, PaymentMethod), Failure> {
        let lines: Result<Vec<_>, _> = self.items.into_iter().map(NewLine::into_line).collect();
        let cart = Cart::try_from(lines?).map_err(|_| Failure::Invalid)?;
        let address = Address::try_from(self.delivery_address).map_err(|_| Failure::Invalid)?;
        let method = self.payment_method.map_or_else(
            || Ok(PaymentMethod::default()),
            |name| name.parse().map_err(|_| Failure::Invalid),
        );
        Ok((cart, address, method?))
    }
}

impl NewLine {
    fn into_line(self) -> Result<CartLine, Failure> {
        let product = match (self.flower_id, self.bouquet_id) {
            (Some(id), None) => id.parse().map(Product::Flower),
            (None, Some(id)) => id.parse().map(Product::Bouquet),
            _ => return Err(Failure::Invalid),
        };
        Ok(CartLine {
            product: product.map_err(|_| Failure::Invalid)?,
            quantity: Quantity::try_from(self.quantity).map_err(|_| Failure::Invalid)?,
        })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct OrderBody {
    id: OrderId,
    user_id: UserId,
    status: &'static str,
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
struct ItemBody {
    id: OrderItemId,
    flower_id: Option<FlowerId>,
    bouquet_id: Option<BouquetId>,
    quantity: u32,
    price: Money,
}

/// A product as two columns or members, one of them null.
pub(super) fn split(product: Product) -> (Option<FlowerId>, Option<BouquetId>) {
    match product {
        Product::Flower(id) => (Some(id), None),
        Product::Bouquet(id) => (None, Some(id)),
    }
}

impl From<Order> for OrderBody {
    fn from(order: Order) -> Self {
        Self {
            id: order.id,
            user_id: order.user_id,
            status: order.status.as_str(),
            status_reason: order.status_reason.map(StatusReason::as_str),
            total_amount: order.total,
            delivery_address: order.delivery_address,
            payment_method: order.payment_method,
            payment_due_at: order.payment_due_at,
            items: order.items.into_iter().map(ItemBody::from).collect(),
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

impl From<OrderItem> for ItemBody {
    fn from(item: OrderItem) -> Self {
        let (flower_id, bouquet_id) = split(item.product);
        Self {
            id: item.id,
            flower_id,
            bouquet_id,
            quantity: item.quantity.get(),
            price: item.price,
        }
    }
}
