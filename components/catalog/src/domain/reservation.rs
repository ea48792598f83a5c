//! What the catalog keeps for an order, and what each word of ordering makes of it. Pure; whether there is enough is
//! not decided here but where the stock is locked, by the statement that takes it.
//!
//! Events may come twice, late, or before the one that should precede them: a cancellation that comes first leaves a
//! tombstone, which refuses the work when it comes.

use contracts::{BouquetId, Event, FlowerId, OrderId, OrderLine, StockRejected, StockReserved};
use std::num::NonZeroU32;
use std::str::FromStr;

/// How a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationStatus {
    /// The stock was taken for the order.
    Reserved,
    /// There was not enough: nothing was taken.
    Rejected,
    /// Put back, for the order was cancelled.
    Released,
    /// The order was delivered.
    Sold,
    /// The order was cancelled before anything was taken: nothing will be.
    Withdrawn,
}

/// A word that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no status of a reservation")]
pub struct UnknownStatus;

impl ReservationStatus {
    const ALL: [Self; 5] = [
        Self::Reserved,
        Self::Rejected,
        Self::Released,
        Self::Sold,
        Self::Withdrawn,
    ];

    /// The spelling in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Rejected => "rejected",
            Self::Released => "released",
            Self::Sold => "sold",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl FromStr for ReservationStatus {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or(UnknownStatus)
    }
}

/// Something that is sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Flower(FlowerId),
    Bouquet(BouquetId),
}

/// So many of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub product: Product,
    pub quantity: NonZeroU32,
}

/// What an order asks for: one line or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

/// Lines that no order has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order has lines, each of one product and at least one of it")]
pub struct InvalidLines;

impl TryFrom<&[OrderLine]> for Lines {
    type Error = InvalidLines;

    fn try_from(lines: &[OrderLine]) -> Result<Self, InvalidLines> {
        let line = |line: &OrderLine| {
            let product = match (line.flower_id, line.bouquet_id) {
                (Some(id), None) => Product::Flower(id),
                (None, Some(id)) => Product::Bouquet(id),
                _ => return Err(InvalidLines),
            };
            let quantity = NonZeroU32::new(line.quantity).ok_or(InvalidLines)?;
            Ok(Line { product, quantity })
        };
        if lines.is_empty() {
            return Err(InvalidLines);
        }
        lines.iter().map(line).collect::<Result<_, _>>().map(Self)
    }
}

impl Lines {
    #[must_use]
    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }
}

/// What the catalog is told of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Created(Lines),
    Cancelled,
    Completed,
}

/// What an order is to the stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// To be taken, all or nothing, as soon as this is stored.
    Asked(Lines),
    Stands(ReservationStatus),
}

/// What must come first has not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an earlier event has not come yet")]
pub struct NotYet;

impl Reservation {
    /// What the order is to the stock after `fact`, where `before` is `None` if nothing was heard of it.
    ///
    /// # Errors
    /// If the fact follows another one that has not come, or whose outcome is not known yet.
    pub fn after(before: Option<Self>, fact: &Fact) -> Result<Self, NotYet> {
        use ReservationStatus::{Released, Reserved, Sold, Withdrawn};
        match (before, fact) {
            (None, Fact::Created(lines)) => Ok(Self::Asked(lines.clone())),
            (None | Some(Self::Asked(_)), Fact::Cancelled) => Ok(Self::Stands(Withdrawn)),
            (None | Some(Self::Asked(_)), Fact::Completed) => Err(NotYet),
            (Some(Self::Stands(Reserved)), Fact::Cancelled) => Ok(Self::Stands(Released)),
            (Some(Self::Stands(Reserved)), Fact::Completed) => Ok(Self::Stands(Sold)),
            // The order has left that behind.
            (Some(before), _) => Ok(before),
        }
    }

    /// The status that is to be stored; `None` if the stock decides it.
    #[must_use]
    pub fn status(&self) -> Option<ReservationStatus> {
        match self {
            Self::Asked(_) => None,
            Self::Stands(status) => Some(*status),
        }
    }

    /// What is to be taken, if there is enough of all of it.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        match self {
            Self::Asked(lines) => lines.as_slice(),
            Self::Stands(_) => &[],
        }
    }
}

/// What is told of an order that asked: if there was enough, and if there was not.
#[must_use]
pub fn answers(order_id: OrderId) -> [(bool, Event); 2] {
    let reason = "out_of_stock".to_owned();
    [
        (true, StockReserved { order_id }.into()),
        (false, StockRejected { order_id, reason }.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::Money;

    fn line(flower_id: Option<FlowerId>, bouquet_id: Option<BouquetId>, quantity: u32) -> OrderLine {
        OrderLine {
            flower_id,
            bouquet_id,
            quantity,
            price: Money::ZERO,
        }
    }

    fn created() -> Fact {
        let lines = [line(Some(FlowerId::new()), None, 3)];
        Fact::Created(lines.as_slice().try_into().unwrap())
    }

    /// What an order is to the stock once these were heard; what has to wait changes nothing.
    fn given(facts: &[Fact]) -> Option<Reservation> {
        facts.iter().fold(None, |before, fact| {
            Reservation::after(before.clone(), fact).ok().or(before)
        })
    }

    fn stands(status: ReservationStatus) -> Reservation {
        Reservation::Stands(status)
    }

    #[test]
    fn a_new_order_asks_for_its_lines_and_the_stock_decides() {
        let asked = given(&[created()]).unwrap();
        assert_eq!((asked.status(), asked.lines().len()), (None, 1));
        let types = answers(OrderId::new()).map(|(is_reserved, event)| (is_reserved, event.event_type()));
        assert_eq!(types, [(true, "StockReserved"), (false, "StockRejected")]);
    }

    #[test]
    fn a_cancelled_order_gives_back_what_was_reserved_and_a_completed_one_has_it() {
        let reserved = || Some(stands(ReservationStatus::Reserved));
        assert_eq!(
            Reservation::after(reserved(), &Fact::Cancelled),
            Ok(stands(ReservationStatus::Released))
        );
        assert_eq!(
            Reservation::after(reserved(), &Fact::Completed),
            Ok(stands(ReservationStatus::Sold))
        );
    }

    #[test]
    fn an_order_cancelled_before_it_came_takes_nothing_when_it_comes() {
        let late = given(&[Fact::Cancelled, created()]);
        assert_eq!(late, Some(stands(ReservationStatus::Withdrawn)));
    }

    #[test]
    fn an_order_placed_and_cancelled_at_once_takes_nothing() {
        let both = given(&[created(), Fact::Cancelled]);
        assert_eq!(both, Some(stands(ReservationStatus::Withdrawn)));
    }

    #[test]
    fn a_completion_waits_for_its_order() {
        assert_eq!(Reservation::after(None, &Fact::Completed), Err(NotYet));
        assert_eq!(
            Reservation::after(given(&[created()]), &Fact::Completed),
            Err(NotYet)
        );
    }

    #[test]
    fn what_is_over_stays_as_it_is() {
        for status in ReservationStatus::ALL {
            let heard = [created(), Fact::Cancelled, Fact::Completed];
            let open = usize::from(status == ReservationStatus::Reserved);
            for fact in &heard[..heard.len() - 2 * open] {
                assert_eq!(
                    Reservation::after(Some(stands(status)), fact),
                    Ok(stands(status)),
                    "{status:?} {fact:?}"
                );
            }
        }
    }

    #[test]
    fn lines_name_one_product_and_at_least_one_of_it() {
        let (flower, bouquet) = (Some(FlowerId::new()), Some(BouquetId::new()));
        let bad = [
            line(flower, bouquet, 1),
            line(None, None, 1),
            line(flower, None, 0),
        ];
        for line in bad {
            assert_eq!(Lines::try_from([line].as_slice()), Err(InvalidLines));
        }
        assert_eq!(Lines::try_from([].as_slice()), Err(InvalidLines));
        assert!(Lines::try_from([line(flower, None, 1), line(None, bouquet, 9)].as_slice()).is_ok());
    }

    #[test]
    fn every_status_reads_back_as_it_is_spelt() {
        for status in ReservationStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
    }
}
