//! How many there are of a flower, and how an admin corrects it.

/// How many there are: 0 to [`Stock::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock(i32);

/// A number that is no stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 0 to {}", Stock::MAX)]
pub struct InvalidStock;

impl Stock {
    /// The most that an admin can say there is.
    pub const MAX: i32 = 1_000_000;

    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for Stock {
    type Error = InvalidStock;

    fn try_from(number: i64) -> Result<Self, InvalidStock> {
        i32::try_from(number)
            .ok()
            .filter(|number| (0..=Self::MAX).contains(number))
            .map(Self)
            .ok_or(InvalidStock)
    }
}

/// By how much a stock is wrong: up to [`Stock::MAX`] in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockDelta(i32);

/// A number that corrects no stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from -{max} to {max}", max = Stock::MAX)]
pub struct InvalidStockDelta;

impl StockDelta {
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for StockDelta {
    type Error = InvalidStockDelta;

    fn try_from(number: i64) -> Result<Self, InvalidStockDelta> {
        i32::try_from(number)
            .ok()
            .filter(|number| (-Stock::MAX..=Stock::MAX).contains(number))
            .map(Self)
            .ok_or(InvalidStockDelta)
    }
}

/// How an admin corrects a stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockChange {
    /// So many there are, by a client that says which version it has seen.
    Set(Stock),
    /// So many more or fewer, whatever there is.
    Add(StockDelta),
}

/// The correction would leave a stock below 0 or above [`Stock::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stock would be out of range")]
pub struct StockOutOfRange;

impl StockChange {
    /// What `stock` becomes.
    ///
    /// # Errors
    /// If it would leave its range.
    pub fn applied_to(self, stock: i32) -> Result<i32, StockOutOfRange> {
        match self {
            Self::Set(stock) => Ok(stock.get()),
            Self::Add(StockDelta(0)) => Ok(stock),
            Self::Add(delta) => stock
                .checked_add(delta.get())
                .filter(|stock| (0..=Stock::MAX).contains(stock))
                .ok_or(StockOutOfRange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stocks_and_their_corrections_have_bounds() {
        for number in [-1, 1_000_001, i64::MAX, i64::MIN] {
            assert!(Stock::try_from(number).is_err(), "{number}");
        }
        for number in [-1_000_001, 1_000_001, i64::MAX, i64::MIN] {
            assert!(StockDelta::try_from(number).is_err(), "{number}");
        }
    }

    #[test]
    fn a_corrected_stock_stays_within_its_range() {
        let add = |number: i64| StockChange::Add(number.try_into().unwrap());
        assert_eq!(add(-5).applied_to(5), Ok(0));
        assert_eq!(add(-6).applied_to(5), Err(StockOutOfRange));
        assert_eq!(add(1).applied_to(Stock::MAX), Err(StockOutOfRange));
    }
}
