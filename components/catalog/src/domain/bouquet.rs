//! A bouquet, and what each change of it comes to.

use super::price::Price;
use super::text::{Description, ImageUrl, Name};
use contracts::{BouquetChanged, BouquetId, CategoryId, FlowerId, Money, Timestamp};

/// The most flowers, each counted once, of one bouquet.
const MAX_ITEMS: usize = 50;

/// How many of one flower: 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(i32);

/// A number that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to 1000")]
pub struct InvalidQuantity;

impl Quantity {
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(number: i64) -> Result<Self, InvalidQuantity> {
        i32::try_from(number)
            .ok()
            .filter(|number| (1..=1000).contains(number))
            .map(Self)
            .ok_or(InvalidQuantity)
    }
}

/// So many of one flower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BouquetItem {
    pub flower_id: FlowerId,
    pub quantity: Quantity,
}

/// What a bouquet is made of: 1 to 50 flowers, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items(Vec<BouquetItem>);

/// A list of flowers that makes no bouquet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidItems {
    #[error("must have 1 to {MAX_ITEMS} items")]
    Count,
    #[error("item {again} names the flower of item {first} again")]
    Repeated { first: usize, again: usize },
}

impl TryFrom<Vec<BouquetItem>> for Items {
    type Error = InvalidItems;

    fn try_from(items: Vec<BouquetItem>) -> Result<Self, InvalidItems> {
        if !(1..=MAX_ITEMS).contains(&items.len()) {
            return Err(InvalidItems::Count);
        }
        for (again, item) in items.iter().enumerate() {
            let mut earlier = items[..again].iter();
            if let Some(first) = earlier.position(|other| other.flower_id == item.flower_id) {
                return Err(InvalidItems::Repeated { first, again });
            }
        }
        Ok(Self(items))
    }
}

impl Items {
    #[must_use]
    pub fn as_slice(&self) -> &[BouquetItem] {
        &self.0
    }
}

/// A bouquet that is for sale, at its own price.
#[derive(Clone, Debug, PartialEq)]
pub struct Bouquet {
    pub id: BouquetId,
    pub name: String,
    pub description: Option<String>,
    pub price: Money,
    pub category_id: CategoryId,
    pub items: Vec<BouquetItem>,
    pub image_url: Option<String>,
    /// Raised by every change.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A bouquet as an admin describes it.
#[derive(Clone, Debug)]
pub struct NewBouquet {
    pub name: Name,
    pub description: Option<Description>,
    pub price: Price,
    pub category_id: CategoryId,
    pub items: Items,
    pub image_url: Option<ImageUrl>,
}

/// What is to change; `None` is left as it is, `Some(None)` cleared.
#[derive(Clone, Debug, Default)]
pub struct BouquetPatch {
    pub name: Option<Name>,
    pub description: Option<Option<Description>>,
    pub price: Option<Price>,
    pub category_id: Option<CategoryId>,
    pub items: Option<Items>,
    pub image_url: Option<Option<ImageUrl>>,
}

/// What a change, the first one and the deletion included, comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct BouquetChange {
    /// The bouquet afterwards, at its new version.
    pub bouquet: Bouquet,
    pub deleted: bool,
    /// What it tells the other services: nothing, unless name, price or existence changed.
    pub event: Option<BouquetChanged>,
}

impl BouquetChange {
    /// The version that was decided on.
    #[must_use]
    pub fn decided_on(&self) -> i64 {
        self.bouquet.version - 1
    }
}

impl Bouquet {
    /// A new bouquet.
    #[must_use]
    pub fn create(new: NewBouquet, now: Timestamp) -> BouquetChange {
        let bouquet = Self {
            id: BouquetId::new(),
            name: new.name.into(),
            description: new.description.map(String::from),
            price: new.price.into(),
            category_id: new.category_id,
            items: new.items.0,
            image_url: new.image_url.map(String::from),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let event = Some(bouquet.told(false));
        BouquetChange {
            bouquet,
            deleted: false,
            event,
        }
    }

    /// What `patch` comes to; `None` if it changes nothing.
    #[must_use]
    pub fn change(&self, patch: &BouquetPatch, now: Timestamp) -> Option<BouquetChange> {
        let mut bouquet = self.clone();
        if let Some(name) = &patch.name {
            bouquet.name = name.as_str().to_owned();
        }
        if let Some(description) = &patch.description {
            bouquet.description = description.clone().map(String::from);
        }
        if let Some(price) = patch.price {
            bouquet.price = price.into();
        }
        if let Some(category_id) = patch.category_id {
            bouquet.category_id = category_id;
        }
        if let Some(items) = &patch.items {
            bouquet.items = items.0.clone();
        }
        if let Some(image_url) = &patch.image_url {
            bouquet.image_url = image_url.clone().map(String::from);
        }
        if bouquet == *self {
            return None;
        }
        bouquet.version += 1;
        bouquet.updated_at = now;
        let event = (bouquet.name != self.name || bouquet.price != self.price).then(|| bouquet.told(false));
        Some(BouquetChange {
            bouquet,
            deleted: false,
            event,
        })
    }

    /// Its end.
    #[must_use]
    pub fn delete(mut self, now: Timestamp) -> BouquetChange {
        self.version += 1;
        self.updated_at = now;
        let event = Some(self.told(true));
        BouquetChange {
            bouquet: self,
            deleted: true,
            event,
        }
    }

    fn told(&self, deleted: bool) -> BouquetChanged {
        BouquetChanged {
            bouquet_id: self.id,
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

    fn item(quantity: i64) -> BouquetItem {
        BouquetItem {
            flower_id: FlowerId::new(),
            quantity: quantity.try_into().unwrap(),
        }
    }

    fn gift() -> Bouquet {
        let new = NewBouquet {
            name: Name::try_from("Romantic Bouquet".to_owned()).unwrap(),
            description: None,
            price: Price::try_from(Money::rub(50_000).unwrap()).unwrap(),
            category_id: CategoryId::new(),
            items: vec![item(7), item(3)].try_into().unwrap(),
            image_url: None,
        };
        Bouquet::create(new, Timestamp::now()).bouquet
    }

    #[test]
    fn a_bouquet_has_1_to_50_flowers_and_none_twice() {
        let rose = item(1);
        assert_eq!(Items::try_from(vec![]), Err(InvalidItems::Count));
        let many: Vec<_> = (0..51).map(|_| item(1)).collect();
        assert!(Items::try_from(many[..50].to_vec()).is_ok());
        assert_eq!(Items::try_from(many), Err(InvalidItems::Count));
        assert_eq!(
            Items::try_from(vec![rose, item(1), rose]),
            Err(InvalidItems::Repeated { first: 0, again: 2 })
        );
        for number in [0, -1, 1001, i64::MAX] {
            assert!(Quantity::try_from(number).is_err(), "{number}");
        }
    }

    #[test]
    fn a_new_name_is_told_and_another_make_is_not() {
        let rename = BouquetPatch {
            name: Some(Name::try_from("Birthday Bouquet".to_owned()).unwrap()),
            ..BouquetPatch::default()
        };
        let change = gift().change(&rename, Timestamp::now()).unwrap();
        assert_eq!(change.event.unwrap().name, "Birthday Bouquet");
        let remake = BouquetPatch {
            items: Some(vec![item(1)].try_into().unwrap()),
            ..BouquetPatch::default()
        };
        let change = gift().change(&remake, Timestamp::now()).unwrap();
        assert_eq!((change.event, change.bouquet.version), (None, 2));
    }

    #[test]
    fn a_patch_that_says_what_is_there_already_changes_nothing() {
        let gift = gift();
        let patch = BouquetPatch {
            items: Some(gift.items.clone().try_into().unwrap()),
            category_id: Some(gift.category_id),
            ..BouquetPatch::default()
        };
        assert_eq!(gift.change(&patch, Timestamp::now()), None);
    }

    #[test]
    fn a_deletion_is_told_with_a_version_of_its_own() {
        let event = gift().delete(Timestamp::now()).event.unwrap();
        assert!(event.deleted);
        assert_eq!(event.version, 2);
    }
}
