//! A flower, and what each change of it comes to.

use super::price::Price;
use super::stock::{Stock, StockChange, StockDelta, StockOutOfRange};
use super::text::{Description, ImageUrl, Name};
use contracts::{FlowerChanged, FlowerId, Money, Timestamp};
use std::str::FromStr;

/// What kind of flower it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowerType {
    Rose,
    Tulip,
    Lily,
    Orchid,
    Carnation,
    Peony,
    Other,
}

/// A word that is no kind of flower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of rose, tulip, lily, orchid, carnation, peony, other")]
pub struct UnknownFlowerType;

impl FlowerType {
    const ALL: [Self; 7] = [
        Self::Rose,
        Self::Tulip,
        Self::Lily,
        Self::Orchid,
        Self::Carnation,
        Self::Peony,
        Self::Other,
    ];

    /// The spelling in answers and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rose => "rose",
            Self::Tulip => "tulip",
            Self::Lily => "lily",
            Self::Orchid => "orchid",
            Self::Carnation => "carnation",
            Self::Peony => "peony",
            Self::Other => "other",
        }
    }
}

impl FromStr for FlowerType {
    type Err = UnknownFlowerType;

    fn from_str(word: &str) -> Result<Self, UnknownFlowerType> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or(UnknownFlowerType)
    }
}

/// A flower that is for sale.
#[derive(Clone, Debug, PartialEq)]
pub struct Flower {
    pub id: FlowerId,
    pub name: String,
    pub description: Option<String>,
    pub price: Money,
    /// What can still be sold: at least 0.
    pub stock_quantity: i32,
    pub flower_type: FlowerType,
    pub image_url: Option<String>,
    /// Raised by every change.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A flower as an admin describes it.
#[derive(Clone, Debug)]
pub struct NewFlower {
    pub name: Name,
    pub description: Option<Description>,
    pub price: Price,
    pub stock: Stock,
    pub flower_type: FlowerType,
    pub image_url: Option<ImageUrl>,
}

/// What is to change; `None` is left as it is, `Some(None)` cleared.
#[derive(Clone, Debug, Default)]
pub struct FlowerPatch {
    pub name: Option<Name>,
    pub description: Option<Option<Description>>,
    pub price: Option<Price>,
    pub stock: Option<StockChange>,
    pub flower_type: Option<FlowerType>,
    pub image_url: Option<Option<ImageUrl>>,
}

impl FlowerPatch {
    /// The correction of stock that this is, if it is nothing else.
    #[must_use]
    pub fn only_stock_delta(&self) -> Option<StockDelta> {
        match self {
            Self {
                name: None,
                description: None,
                price: None,
                stock: Some(StockChange::Add(delta)),
                flower_type: None,
                image_url: None,
            } => Some(*delta),
            _ => None,
        }
    }

    /// Whether it says how many there are, which only holds for the version that the client has seen.
    #[must_use]
    pub fn sets_stock(&self) -> bool {
        matches!(self.stock, Some(StockChange::Set(_)))
    }
}

/// What a change, the first one and the deletion included, comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowerChange {
    /// The flower afterwards, at its new version.
    pub flower: Flower,
    pub deleted: bool,
    /// What it tells the other services: nothing, unless name, price or existence changed.
    pub event: Option<FlowerChanged>,
}

impl FlowerChange {
    /// The version that was decided on.
    #[must_use]
    pub fn decided_on(&self) -> i64 {
        self.flower.version - 1
    }
}

impl Flower {
    /// A new flower.
    #[must_use]
    pub fn create(new: NewFlower, now: Timestamp) -> FlowerChange {
        let flower = Self {
            id: FlowerId::new(),
            name: new.name.into(),
            description: new.description.map(String::from),
            price: new.price.into(),
            stock_quantity: new.stock.get(),
            flower_type: new.flower_type,
            image_url: new.image_url.map(String::from),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let event = Some(flower.told(false));
        FlowerChange {
            flower,
            deleted: false,
            event,
        }
    }

    /// What `patch` comes to; `None` if it changes nothing.
    ///
    /// # Errors
    /// If the stock would leave its range.
    pub fn change(
        &self,
        patch: &FlowerPatch,
        now: Timestamp,
    ) -> Result<Option<FlowerChange>, StockOutOfRange> {
        let mut flower = self.clone();
        if let Some(name) = &patch.name {
            flower.name = name.as_str().to_owned();
        }
        if let Some(description) = &patch.description {
            flower.description = description.clone().map(String::from);
        }
        if let Some(price) = patch.price {
            flower.price = price.into();
        }
        if let Some(change) = patch.stock {
            flower.stock_quantity = change.applied_to(self.stock_quantity)?;
        }
        if let Some(flower_type) = patch.flower_type {
            flower.flower_type = flower_type;
        }
        if let Some(image_url) = &patch.image_url {
            flower.image_url = image_url.clone().map(String::from);
        }
        if flower == *self {
            return Ok(None);
        }
        flower.version += 1;
        flower.updated_at = now;
        let event = (flower.name != self.name || flower.price != self.price).then(|| flower.told(false));
        Ok(Some(FlowerChange {
            flower,
            deleted: false,
            event,
        }))
    }

    /// Its end.
    #[must_use]
    pub fn delete(mut self, now: Timestamp) -> FlowerChange {
        self.version += 1;
        self.updated_at = now;
        let event = Some(self.told(true));
        FlowerChange {
            flower: self,
            deleted: true,
            event,
        }
    }

    fn told(&self, deleted: bool) -> FlowerChanged {
        FlowerChanged {
            flower_id: self.id,
            version: self.version,
            name: self.name.clone(),
            price: self.price,
            deleted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rose(stock: i64) -> Flower {
        let new = NewFlower {
            name: Name::try_from("Red Rose".to_owned()).unwrap(),
            description: None,
            price: price(15_000),
            stock: stock.try_into().unwrap(),
            flower_type: FlowerType::Rose,
            image_url: None,
        };
        Flower::create(new, Timestamp::now()).flower
    }

    fn price(minor: i64) -> Price {
        Money::rub(minor).unwrap().try_into().unwrap()
    }

    fn add(number: i64) -> FlowerPatch {
        FlowerPatch {
            stock: Some(StockChange::Add(number.try_into().unwrap())),
            ..FlowerPatch::default()
        }
    }

    #[test]
    fn a_new_price_is_told_with_the_version_that_has_it() {
        let patch = FlowerPatch {
            price: Some(price(14_000)),
            ..FlowerPatch::default()
        };
        let change = rose(5).change(&patch, Timestamp::now()).unwrap().unwrap();
        let event = change.event.clone().unwrap();
        assert_eq!((event.version, event.price), (2, price(14_000).into()));
        assert!(!event.deleted);
        assert_eq!(change.decided_on(), 1);
    }

    #[test]
    fn a_correction_of_stock_is_told_nobody() {
        let change = rose(5).change(&add(-5), Timestamp::now()).unwrap().unwrap();
        assert_eq!((change.flower.stock_quantity, change.flower.version), (0, 2));
        assert_eq!(change.event, None);
    }

    #[test]
    fn a_stock_stays_within_its_range() {
        assert_eq!(rose(5).change(&add(-6), Timestamp::now()), Err(StockOutOfRange));
        let full = rose(i64::from(Stock::MAX));
        assert_eq!(full.change(&add(1), Timestamp::now()), Err(StockOutOfRange));
    }

    #[test]
    fn a_patch_that_says_what_is_there_already_changes_nothing() {
        let patch = FlowerPatch {
            name: Some(Name::try_from(" Red Rose ".to_owned()).unwrap()),
            description: Some(None),
            price: Some(price(15_000)),
            ..FlowerPatch::default()
        };
        assert_eq!(rose(5).change(&patch, Timestamp::now()), Ok(None));
        assert_eq!(rose(5).change(&add(0), Timestamp::now()), Ok(None));
    }

    #[test]
    fn what_a_patch_leaves_out_stays_and_null_clears() {
        let mut flower = rose(5);
        flower.description = Some("It smells".to_owned());
        flower.image_url = Some("https://example.com/rose.png".to_owned());
        let patch = FlowerPatch {
            description: Some(None),
            ..FlowerPatch::default()
        };
        let changed = flower.change(&patch, Timestamp::now()).unwrap().unwrap().flower;
        assert_eq!(changed.description, None);
        assert_eq!(changed.image_url, flower.image_url);
        assert_eq!(changed.name, flower.name);
    }

    #[test]
    fn a_deletion_is_told_with_a_version_of_its_own() {
        let change = rose(5).delete(Timestamp::now());
        let event = change.event.unwrap();
        assert!(change.deleted && event.deleted);
        assert_eq!(event.version, 2);
    }

    #[test]
    fn only_a_patch_of_nothing_but_a_stock_delta_is_one() {
        assert!(add(1).only_stock_delta().is_some());
        let more = FlowerPatch {
            price: Some(price(1)),
            ..add(1)
        };
        assert_eq!(more.only_stock_delta(), None);
        assert_eq!(FlowerPatch::default().only_stock_delta(), None);
    }
}
