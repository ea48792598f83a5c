//! What a thing costs.

use contracts::Money;

/// What one costs: 0.01 to 9,999,999.99.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price(Money);

/// Money that is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be from 0.01 to 9999999.99")]
pub struct InvalidPrice;

impl TryFrom<Money> for Price {
    type Error = InvalidPrice;

    fn try_from(money: Money) -> Result<Self, InvalidPrice> {
        if (1..=999_999_999).contains(&money.minor()) {
            Ok(Self(money))
        } else {
            Err(InvalidPrice)
        }
    }
}

impl From<Price> for Money {
    fn from(price: Price) -> Self {
        price.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_from_one_kopeck_to_ten_million_roubles_less_one() {
        for minor in [0, 1_000_000_000, i64::MAX] {
            assert!(Price::try_from(Money::rub(minor).unwrap()).is_err(), "{minor}");
        }
        for minor in [1, 999_999_999] {
            assert!(Price::try_from(Money::rub(minor).unwrap()).is_ok(), "{minor}");
        }
    }
}
