//! An order as it stands.

use super::cart::{Product, Quantity};
use contracts::{Money, OrderId, OrderItemId, PaymentMethod, Timestamp, UserId};
use std::str::FromStr;

/// Where an order is on its way. `Completed` and `Cancelled` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderStatus {
    Created,
    PaymentCompleted,
    PaymentFailed,
    Shipping,
    Completed,
    Cancelled,
}

/// A word that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of created, payment_completed, payment_failed, shipping, completed, cancelled")]
pub struct UnknownStatus;

impl OrderStatus {
    const ALL: [Self; 6] = [
        Self::Created,
        Self::PaymentCompleted,
        Self::PaymentFailed,
        Self::Shipping,
        Self::Completed,
        Self::Cancelled,
    ];

    /// The spelling in answers and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::PaymentCompleted => "payment_completed",
            Self::PaymentFailed => "payment_failed",
            Self::Shipping => "shipping",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for OrderStatus {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or(UnknownStatus)
    }
}

/// Why an order has its status, where that is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusReason {
    CardDeclined,
    OutOfStock,
    PaymentDeadline,
    CancelledByUser,
    DeliveryFailed,
}

impl StatusReason {
    const ALL: [Self; 5] = [
        Self::CardDeclined,
        Self::OutOfStock,
        Self::PaymentDeadline,
        Self::CancelledByUser,
        Self::DeliveryFailed,
    ];

    /// The spelling in answers and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CardDeclined => "card_declined",
            Self::OutOfStock => "out_of_stock",
            Self::PaymentDeadline => "payment_deadline",
            Self::CancelledByUser => "cancelled_by_user",
            Self::DeliveryFailed => "delivery_failed",
        }
    }
}

impl FromStr for StatusReason {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .ok_or(UnknownStatus)
    }
}

/// One line of an order. Its price is the order's for life.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderItem {
    pub id: OrderItemId,
    pub product: Product,
    pub quantity: Quantity,
    /// The price of one.
    pub price: Money,
}

/// An order.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub id: OrderId,
    pub user_id: UserId,
    pub status: OrderStatus,
    pub status_reason: Option<StatusReason>,
    pub total: Money,
    pub delivery_address: String,
    pub payment_method: PaymentMethod,
    /// When an order that is not paid is cancelled; `None` of one that was placed before there were deadlines.
    pub payment_due_at: Option<Timestamp>,
    /// The attempt to pay that was last heard of; 0 before the first.
    pub payment_attempt: u32,
    /// Whether the catalog keeps for it what it needs.
    pub stock_reserved: bool,
    /// Raised by every handled event.
    pub version: i64,
    pub items: Vec<OrderItem>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
