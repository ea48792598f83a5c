//! A category of bouquets, and what each change of it comes to. Nobody outside the catalog hears of them.

use super::text::{Description, Name};
use contracts::{CategoryId, Timestamp};

/// A category.
#[derive(Clone, Debug, PartialEq)]
pub struct Category {
    pub id: CategoryId,
    /// Unique.
    pub name: String,
    pub description: Option<String>,
    /// Raised by every change.
    pub version: i64,
    pub created_at: Timestamp,
}

/// A category as an admin describes it.
#[derive(Clone, Debug)]
pub struct NewCategory {
    pub name: Name,
    pub description: Option<Description>,
}

/// What is to change; `None` is left as it is, `Some(None)` cleared.
#[derive(Clone, Debug, Default)]
pub struct CategoryPatch {
    pub name: Option<Name>,
    pub description: Option<Option<Description>>,
}

impl Category {
    /// A new category.
    #[must_use]
    pub fn create(new: NewCategory, now: Timestamp) -> Self {
        Self {
            id: CategoryId::new(),
            name: new.name.into(),
            description: new.description.map(String::from),
            version: 1,
            created_at: now,
        }
    }

    /// The category after `patch`, at its new version; `None` if it changes nothing.
    #[must_use]
    pub fn change(&self, patch: &CategoryPatch) -> Option<Self> {
        let mut category = self.clone();
        if let Some(name) = &patch.name {
            category.name = name.as_str().to_owned();
        }
        if let Some(description) = &patch.description {
            category.description = description.clone().map(String::from);
        }
        if category == *self {
            return None;
        }
        category.version += 1;
        Some(category)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let new = NewCategory {
            name: Name::try_from("Weddings".to_owned()).unwrap(),
            description: Some("White".to_owned().try_into().unwrap()),
        };
        let category = Category::create(new, Timestamp::now());
        assert_eq!(category.change(&CategoryPatch::default()), None);
        let patch = CategoryPatch {
            description: Some(None),
            ..CategoryPatch::default()
        };
        let changed = category.change(&patch).unwrap();
        assert_eq!((changed.version, changed.description), (2, None));
        assert_eq!(changed.name, "Weddings");
    }
}
