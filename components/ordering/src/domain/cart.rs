//! What a client wants to buy, and what it costs.

use super::order::{Order, OrderItem, OrderStatus};
use contracts::{BouquetId, FlowerId, Money, OrderId, OrderItemId, PaymentMethod, Timestamp, UserId};
use std::time::Duration;
use uuid::Uuid;

/// The most lines of one order.
const MAX_LINES: usize = 50;

/// How many of one thing: 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(u32);

/// A number that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to 1000")]
pub struct InvalidQuantity;

impl TryFrom<i64> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(number: i64) -> Result<Self, InvalidQuantity> {
        u32::try_from(number)
            .ok()
            .filter(|number| (1..=1000).contains(number))
            .map(Self)
            .ok_or(InvalidQuantity)
    }
}

impl Quantity {
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Where to deliver: 1 to 500 characters after trimming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

/// A text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 500 characters, none of them U+0000")]
pub struct InvalidAddress;

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        let trimmed = text.trim();
        let holds = (1..=500).contains(&trimmed.chars().count()) && !trimmed.contains('\0');
        if holds {
            Ok(Self(trimmed.to_owned()))
        } else {
            Err(InvalidAddress)
        }
    }
}

/// Who orders, where it goes, and how it is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub user_id: UserId,
    pub delivery_address: Address,
    pub payment_method: PaymentMethod,
}

/// Something that can be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Product {
    Flower(FlowerId),
    Bouquet(BouquetId),
}

impl Product {
    /// The bare id; flowers and bouquets share no id.
    #[must_use]
    pub fn id(self) -> Uuid {
        match self {
            Self::Flower(id) => id.as_uuid(),
            Self::Bouquet(id) => id.as_uuid(),
        }
    }
}

/// So many of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CartLine {
    pub product: Product,
    pub quantity: Quantity,
}

/// 1 to 50 lines, nothing twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart(Vec<CartLine>);

/// What the catalog last told of a product that can be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogItem {
    pub product: Product,
    pub price: Money,
}

/// Why a cart is no cart, or no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CartError {
    #[error("must have 1 to {MAX_LINES} lines")]
    LineCount,
    #[error("names the product of line {0} again")]
    Repeated(usize),
    #[error("there is no such product, or no longer")]
    UnknownProduct { line: usize },
    #[error("the total is too large")]
    TooExpensive,
    /// The client expected to pay another total than this.
    #[error("the total is {0:?}")]
    OtherTotal(Money),
}

impl TryFrom<Vec<CartLine>> for Cart {
    type Error = CartError;

    fn try_from(lines: Vec<CartLine>) -> Result<Self, CartError> {
        if !(1..=MAX_LINES).contains(&lines.len()) {
            return Err(CartError::LineCount);
        }
        for (position, line) in lines.iter().enumerate() {
            if let Some(first) = lines[..position]
                .iter()
                .position(|other| other.product == line.product)
            {
                return Err(CartError::Repeated(first));
            }
        }
        Ok(Self(lines))
    }
}

impl Cart {
    /// What it holds.
    pub fn products(&self) -> impl Iterator<Item = Product> {
        self.0.iter().map(|line| line.product)
    }

    /// The order that this cart becomes at the catalog's prices, to be paid within `patience`.
    ///
    /// # Errors
    /// If a product is unknown, or the total does not fit or is not the expected one.
    pub fn place(
        self,
        customer: Customer,
        expected_total: Option<Money>,
        catalog: &[CatalogItem],
        now: Timestamp,
        patience: Duration,
    ) -> Result<Order, CartError> {
        let mut total = Money::ZERO;
        let mut items = Vec::with_capacity(self.0.len());
        for (position, line) in self.0.into_iter().enumerate() {
            let known = catalog.iter().find(|item| item.product == line.product);
            let price = known.ok_or(CartError::UnknownProduct { line: position })?.price;
            let cost = price
                .times(line.quantity.get())
                .map_err(|_| CartError::TooExpensive)?;
            total = total.plus(cost).map_err(|_| CartError::TooExpensive)?;
            items.push(OrderItem {
                id: OrderItemId::new(),
                product: line.product,
                quantity: line.quantity,
                price,
            });
        }
        if expected_total.is_some_and(|expected| expected != total) {
            return Err(CartError::OtherTotal(total));
        }
        Ok(Order {
            id: OrderId::new(),
            user_id: customer.user_id,
            status: OrderStatus::Created,
            status_reason: None,
            total,
            delivery_address: customer.delivery_address.0,
            payment_method: customer.payment_method,
            payment_due_at: Some(now.plus(patience)),
            payment_attempt: 0,
            stock_reserved: false,
            version: 1,
            items,
            created_at: now,
            updated_at: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(900);

    fn line(product: Product, quantity: i64) -> CartLine {
        CartLine {
            product,
            quantity: quantity.try_into().unwrap(),
        }
    }

    fn place(
        lines: Vec<CartLine>,
        catalog: &[CatalogItem],
        expected: Option<Money>,
    ) -> Result<Order, CartError> {
        let customer = Customer {
            user_id: UserId::new(),
            delivery_address: " 1 Rose Street ".to_owned().try_into().unwrap(),
            payment_method: PaymentMethod::Visa,
        };
        Cart::try_from(lines)?.place(customer, expected, catalog, Timestamp::now(), PATIENCE)
    }

    #[test]
    fn an_order_costs_what_the_catalog_says_and_is_paid_within_the_shops_patience() {
        let rose = CatalogItem {
            product: Product::Flower(FlowerId::new()),
            price: Money::rub(15_000).unwrap(),
        };
        let gift = CatalogItem {
            product: Product::Bouquet(BouquetId::new()),
            price: Money::rub(50_000).unwrap(),
        };
        let order = place(
            vec![line(rose.product, 3), line(gift.product, 1)],
            &[gift, rose],
            None,
        )
        .unwrap();
        assert_eq!(order.total, Money::rub(95_000).unwrap());
        assert_eq!(order.status, OrderStatus::Created);
        assert_eq!(order.delivery_address, "1 Rose Street");
        assert_eq!(order.payment_due_at, Some(order.created_at.plus(PATIENCE)));
    }

    #[test]
    fn a_total_that_the_client_did_not_expect_places_no_order() {
        let rose = CatalogItem {
            product: Product::Flower(FlowerId::new()),
            price: Money::rub(15_000).unwrap(),
        };
        let expected = Money::rub(14_000).unwrap();
        let refused = place(vec![line(rose.product, 1)], &[rose], Some(expected));
        assert_eq!(refused.unwrap_err(), CartError::OtherTotal(rose.price));
    }

    #[test]
    fn a_product_that_the_catalog_does_not_have_places_no_order() {
        let refused = place(vec![line(Product::Flower(FlowerId::new()), 1)], &[], None);
        assert_eq!(refused.unwrap_err(), CartError::UnknownProduct { line: 0 });
    }

    #[test]
    fn a_cart_has_1_to_50_lines_and_nothing_twice() {
        let rose = line(Product::Flower(FlowerId::new()), 1);
        assert_eq!(Cart::try_from(vec![]).unwrap_err(), CartError::LineCount);
        assert_eq!(Cart::try_from(vec![rose; 51]).unwrap_err(), CartError::LineCount);
        assert_eq!(
            Cart::try_from(vec![rose, rose]).unwrap_err(),
            CartError::Repeated(0)
        );
    }

    #[test]
    fn quantities_and_addresses_have_bounds() {
        for number in [0, -1, 1001, i64::MAX] {
            assert!(Quantity::try_from(number).is_err());
        }
        for text in ["", "  ", "a\0b", &"x".repeat(501)] {
            assert!(Address::try_from(text.to_owned()).is_err());
        }
        assert!(Address::try_from("ж".repeat(500)).is_ok());
    }
}
