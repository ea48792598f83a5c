//! What goes over the wire, and the one fallible step from there into the domain.

use crate::domain::{
    Bouquet, BouquetItem, BouquetPatch, Category, CategoryPatch, Flower, FlowerPatch, InvalidItems, Items,
    NewBouquet, NewCategory, NewFlower, Price, Quantity, Stock, StockChange, StockDelta,
};
use bytes::Bytes;
use contracts::{BouquetId, CategoryId, FlowerId, Money, Timestamp};
#[cfg(test)]
use description::values;
use serde::{Deserialize, Serialize};
use service::json::{Object, Patch, patched_whole, whole};
use service::{FieldErrors, Problem, StoreError};
use std::fmt::Display;

/// A body as it is kept and sent.
pub(super) fn json(body: &impl Serialize) -> Result<Bytes, StoreError> {
    let bytes = serde_json::to_vec(body).map_err(|error| StoreError::Mistake(error.to_string()))?;
    Ok(bytes.into())
}

/// A field that may be left out.
fn optional<T, U: TryFrom<T, Error: Display>>(
    errors: &mut FieldErrors,
    field: &str,
    value: Option<T>,
) -> Option<U> {
    value.and_then(|value| errors.check(field, U::try_from(value)))
}

/// A field of a patch that cannot be cleared: `None` leaves it as it is.
fn patched<T, U: TryFrom<T, Error: Display>>(
    errors: &mut FieldErrors,
    field: &str,
    patch: Patch<T>,
) -> Option<U> {
    match patch {
        Patch::Absent => None,
        Patch::Null => {
            errors.add(field, "must not be null");
            None
        }
        Patch::Value(value) => errors.check(field, U::try_from(value)),
    }
}

/// A field of a patch that null clears: `None` leaves it as it is.
fn clearable<T, U: TryFrom<T, Error: Display>>(
    errors: &mut FieldErrors,
    field: &str,
    patch: Patch<T>,
) -> Option<Option<U>> {
    match patch {
        Patch::Absent => None,
        Patch::Null => Some(None),
        Patch::Value(value) => errors.check(field, U::try_from(value)).map(Some),
    }
}

/// The same for a word that is parsed.
fn word<T: std::str::FromStr<Err: Display>>(
    errors: &mut FieldErrors,
    field: &str,
    patch: Patch<String>,
) -> Option<T> {
    match patch {
        Patch::Absent => None,
        Patch::Null => {
            errors.add(field, "must not be null");
            None
        }
        Patch::Value(word) => errors.check(field, word.parse()),
    }
}

/// The body of `POST /catalog/flowers`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = NewFlower))]
#[serde(deny_unknown_fields)]
pub(super) struct NewFlowerBody {
    #[cfg_attr(test, schema(schema_with = values::name))]
    name: String,
    #[cfg_attr(test, schema(schema_with = values::nullable::description))]
    description: Option<String>,
    #[cfg_attr(test, schema(schema_with = values::price))]
    price: Money,
    #[cfg_attr(test, schema(schema_with = values::stock))]
    #[serde(deserialize_with = "whole")]
    stock_quantity: i64,
    #[cfg_attr(test, schema(schema_with = values::flower_type))]
    flower_type: String,
    #[cfg_attr(test, schema(schema_with = values::nullable::image_url))]
    image_url: Option<String>,
}

impl TryFrom<NewFlowerBody> for NewFlower {
    type Error = Problem;

    fn try_from(body: NewFlowerBody) -> Result<Self, Problem> {
        let mut errors = FieldErrors::new();
        let name = errors.check("name", body.name.try_into());
        let description = optional(&mut errors, "description", body.description);
        let price = errors.check("price", Price::try_from(body.price));
        let stock = errors.check("stock_quantity", Stock::try_from(body.stock_quantity));
        let flower_type = errors.check("flower_type", body.flower_type.parse());
        let image_url = optional(&mut errors, "image_url", body.image_url);
        let required = name.zip(price).zip(stock.zip(flower_type));
        let ((name, price), (stock, flower_type)) = errors.finish(required)?;
        Ok(Self {
            name,
            description,
            price,
            stock,
            flower_type,
            image_url,
        })
    }
}

/// The body of `PATCH /catalog/flowers/{id}`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = FlowerPatch))]
#[serde(deny_unknown_fields, default)]
pub(super) struct FlowerPatchBody {
    #[cfg_attr(test, schema(schema_with = values::name))]
    name: Patch<String>,
    #[cfg_attr(test, schema(schema_with = values::nullable::description))]
    description: Patch<String>,
    #[cfg_attr(test, schema(schema_with = values::price))]
    price: Patch<Money>,
    #[cfg_attr(test, schema(schema_with = values::stock))]
    #[serde(deserialize_with = "patched_whole")]
    stock_quantity: Patch<i64>,
    #[cfg_attr(test, schema(schema_with = values::stock_delta))]
    #[serde(deserialize_with = "patched_whole")]
    stock_delta: Patch<i64>,
    #[cfg_attr(test, schema(schema_with = values::flower_type))]
    flower_type: Patch<String>,
    #[cfg_attr(test, schema(schema_with = values::nullable::image_url))]
    image_url: Patch<String>,
}

impl TryFrom<FlowerPatchBody> for FlowerPatch {
    type Error = Problem;

    fn try_from(body: FlowerPatchBody) -> Result<Self, Problem> {
        let mut errors = FieldErrors::new();
        let set = patched(&mut errors, "stock_quantity", body.stock_quantity).map(StockChange::Set);
        let add: Option<StockDelta> = patched(&mut errors, "stock_delta", body.stock_delta);
        if set.is_some() && add.is_some() {
            errors.add("stock_delta", "must not come with stock_quantity");
        }
        let patch = Self {
            name: patched(&mut errors, "name", body.name),
            description: clearable(&mut errors, "description", body.description),
            price: patched(&mut errors, "price", body.price),
            stock: set.or(add.map(StockChange::Add)),
            flower_type: word(&mut errors, "flower_type", body.flower_type),
            image_url: clearable(&mut errors, "image_url", body.image_url),
        };
        errors.finish(Some(patch))
    }
}

/// A flower as clients see it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Flower))]
pub(super) struct FlowerBody {
    id: FlowerId,
    name: String,
    description: Option<String>,
    price: Money,
    stock_quantity: i32,
    #[cfg_attr(test, schema(schema_with = values::flower_type))]
    flower_type: &'static str,
    image_url: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Flower> for FlowerBody {
    fn from(flower: Flower) -> Self {
        Self {
            id: flower.id,
            name: flower.name,
            description: flower.description,
            price: flower.price,
            stock_quantity: flower.stock_quantity,
            flower_type: flower.flower_type.as_str(),
            image_url: flower.image_url,
            created_at: flower.created_at,
            updated_at: flower.updated_at,
        }
    }
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = NewBouquetItem))]
#[serde(deny_unknown_fields)]
pub(super) struct NewItemBody {
    #[cfg_attr(test, schema(schema_with = values::id))]
    flower_id: String,
    #[cfg_attr(test, schema(schema_with = values::quantity))]
    #[serde(deserialize_with = "whole")]
    quantity: i64,
}

/// What a bouquet is made of, or notes on what is wrong with it.
fn items(errors: &mut FieldErrors, bodies: Vec<Object<NewItemBody>>) -> Option<Items> {
    let count = bodies.len();
    let bodies = bodies.into_iter().enumerate();
    let items: Vec<BouquetItem> = bodies
        .filter_map(|(position, Object(body))| item(errors, position, body))
        .collect();
    if items.len() < count {
        return None;
    }
    match Items::try_from(items) {
        Ok(items) => Some(items),
        Err(error @ InvalidItems::Repeated { again, .. }) => {
            errors.add(format!("items[{again}].flower_id"), error.to_string());
            None
        }
        Err(error @ InvalidItems::Count) => {
            errors.add("items", error.to_string());
            None
        }
    }
}

fn item(errors: &mut FieldErrors, position: usize, body: NewItemBody) -> Option<BouquetItem> {
    let flower_id = errors.check(format!("items[{position}].flower_id"), body.flower_id.parse());
    let quantity = errors.check(
        format!("items[{position}].quantity"),
        Quantity::try_from(body.quantity),
    );
    flower_id
        .zip(quantity)
        .map(|(flower_id, quantity)| BouquetItem { flower_id, quantity })
}

/// The body of `POST /catalog/bouquets`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = NewBouquet))]
#[serde(deny_unknown_fields)]
pub(super) struct NewBouquetBody {
    #[cfg_attr(test, schema(schema_with = values::name))]
    name: String,
    #[cfg_attr(test, schema(schema_with = values::nullable::description))]
    description: Option<String>,
    #[cfg_attr(test, schema(schema_with = values::price))]
    price: Money,
    #[cfg_attr(test, schema(schema_with = values::id))]
    category_id: String,
    #[cfg_attr(test, schema(schema_with = values::bouquet_items))]
    items: Vec<Object<NewItemBody>>,
    #[cfg_attr(test, schema(schema_with = values::nullable::image_url))]
    image_url: Option<String>,
}

impl TryFrom<NewBouquetBody> for NewBouquet {
    type Error = Problem;

    fn try_from(body: NewBouquetBody) -> Result<Self, Problem> {
        let mut errors = FieldErrors::new();
        let name = errors.check("name", body.name.try_into());
        let description = optional(&mut errors, "description", body.description);
        let price = errors.check("price", Price::try_from(body.price));
        let category_id = errors.check("category_id", body.category_id.parse());
        let items = items(&mut errors, body.items);
        let image_url = optional(&mut errors, "image_url", body.image_url);
        let required = name.zip(price).zip(category_id.zip(items));
        let ((name, price), (category_id, items)) = errors.finish(required)?;
        Ok(Self {
            name,
            description,
            price,
            category_id,
            items,
            image_url,
        })
    }
}

/// The body of `PATCH /catalog/bouquets/{id}`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = BouquetPatch))]
#[serde(deny_unknown_fields, default)]
pub(super) struct BouquetPatchBody {
    #[cfg_attr(test, schema(schema_with = values::name))]
    name: Patch<String>,
    #[cfg_attr(test, schema(schema_with = values::nullable::description))]
    description: Patch<String>,
    #[cfg_attr(test, schema(schema_with = values::price))]
    price: Patch<Money>,
    #[cfg_attr(test, schema(schema_with = values::id))]
    category_id: Patch<String>,
    #[cfg_attr(test, schema(schema_with = values::bouquet_items))]
    items: Patch<Vec<Object<NewItemBody>>>,
    #[cfg_attr(test, schema(schema_with = values::nullable::image_url))]
    image_url: Patch<String>,
}

impl TryFrom<BouquetPatchBody> for BouquetPatch {
    type Error = Problem;

    fn try_from(body: BouquetPatchBody) -> Result<Self, Problem> {
        let mut errors = FieldErrors::new();
        let items = match body.items {
            Patch::Absent => None,
            Patch::Null => {
                errors.add("items", "must not be null");
                None
            }
            Patch::Value(bodies) => items(&mut errors, bodies),
        };
        let patch = Self {
            name: patched(&mut errors, "name", body.name),
            description: clearable(&mut errors, "description", body.description),
            price: patched(&mut errors, "price", body.price),
            category_id: word(&mut errors, "category_id", body.category_id),
            items,
            image_url: clearable(&mut errors, "image_url", body.image_url),
        };
        errors.finish(Some(patch))
    }
}

/// A bouquet as clients see it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Bouquet))]
pub(super) struct BouquetBody {
    id: BouquetId,
    name: String,
    description: Option<String>,
    price: Money,
    category_id: CategoryId,
    items: Vec<ItemBody>,
    image_url: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = BouquetItem))]
struct ItemBody {
    flower_id: FlowerId,
    #[cfg_attr(test, schema(schema_with = values::quantity))]
    quantity: i32,
}

impl From<Bouquet> for BouquetBody {
    fn from(bouquet: Bouquet) -> Self {
        let item = |item: BouquetItem| ItemBody {
            flower_id: item.flower_id,
            quantity: item.quantity.get(),
        };
        Self {
            id: bouquet.id,
            name: bouquet.name,
            description: bouquet.description,
            price: bouquet.price,
            category_id: bouquet.category_id,
            items: bouquet.items.into_iter().map(item).collect(),
            image_url: bouquet.image_url,
            created_at: bouquet.created_at,
            updated_at: bouquet.updated_at,
        }
    }
}

/// The body of `POST /catalog/categories`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = NewCategory))]
#[serde(deny_unknown_fields)]
pub(super) struct NewCategoryBody {
    #[cfg_attr(test, schema(schema_with = values::name))]
    name: String,
    #[cfg_attr(test, schema(schema_with = values::nullable::description))]
    description: Option<String>,
}

impl TryFrom<NewCategoryBody> for NewCategory {
    type Error = Problem;

    fn try_from(body: NewCategoryBody) -> Result<Self, Problem> {
        let mut errors = FieldErrors::new();
        let name = errors.check("name", body.name.try_into());
        let description = optional(&mut errors, "description", body.description);
        let name = errors.finish(name)?;
        Ok(Self { name, description })
    }
}

/// The body of `PATCH /catalog/categories/{id}`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = CategoryPatch))]
#[serde(deny_unknown_fields, default)]
pub(super) struct CategoryPatchBody {
    #[cfg_attr(test, schema(schema_with = values::name))]
    name: Patch<String>,
    #[cfg_attr(test, schema(schema_with = values::nullable::description))]
    description: Patch<String>,
}

impl TryFrom<CategoryPatchBody> for CategoryPatch {
    type Error = Problem;

    fn try_from(body: CategoryPatchBody) -> Result<Self, Problem> {
        let mut errors = FieldErrors::new();
        let patch = Self {
            name: patched(&mut errors, "name", body.name),
            description: clearable(&mut errors, "description", body.description),
        };
        errors.finish(Some(patch))
    }
}

/// A category as clients see it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Category))]
pub(super) struct CategoryBody {
    id: CategoryId,
    name: String,
    description: Option<String>,
    created_at: Timestamp,
}

impl From<Category> for CategoryBody {
    fn from(category: Category) -> Self {
        Self {
            id: category.id,
            name: category.name,
            description: category.description,
            created_at: category.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use service::json::from_slice;

    fn new_flower(body: &str) -> Result<NewFlower, Problem> {
        from_slice::<NewFlowerBody>(body.as_bytes())?.try_into()
    }

    fn flower_patch(body: &str) -> Result<FlowerPatch, Problem> {
        from_slice::<FlowerPatchBody>(body.as_bytes())?.try_into()
    }

    fn new_bouquet(items: &str) -> Result<NewBouquet, Problem> {
        let body = format!(
            r#"{{"name": "Gift", "price": {{"amount": "1.00", "currency": "RUB"}},
                "category_id": "01890a5d-ac96-774b-bcce-b302099a8057", "items": {items}}}"#
        );
        from_slice::<NewBouquetBody>(body.as_bytes())?.try_into()
    }

    const PRICE: &str = r#""price": {"amount": "150.00", "currency": "RUB"}"#;

    #[test]
    fn a_flower_needs_its_name_price_stock_and_type_and_nothing_else() {
        let rest = format!(r#"{PRICE}, "stock_quantity": 10, "flower_type": "rose""#);
        let flower = new_flower(&format!(r#"{{"name": " Red Rose ", {rest}, "image_url": null}}"#)).unwrap();
        assert_eq!(flower.name.as_str(), "Red Rose");
        assert!(flower.description.is_none());
        for body in [
            format!(r#"{{{rest}}}"#),
            r#"{"name": "Rose", "stock_quantity": 10, "flower_type": "rose"}"#.to_owned(),
            format!(r#"{{"name": "Rose", {PRICE}, "flower_type": "rose"}}"#),
            format!(r#"{{"name": "Rose", {PRICE}, "stock_quantity": 10}}"#),
            format!(r#"{{"name": "Rose", {PRICE}, "stock_quantity": 10, "flower_type": "weed"}}"#),
            format!(r#"{{"name": "Rose", {PRICE}, "stock_quantity": 1.5, "flower_type": "rose"}}"#),
            format!(r#"{{"name": "Rose", {PRICE}, "stock_quantity": "10", "flower_type": "rose"}}"#),
            format!(r#"{{"name": "Rose", {PRICE}, "stock_quantity": 1e30, "flower_type": "rose"}}"#),
            format!(r#"{{"name": "Rose", {rest}, "id": "01890a5d-ac96-774b-bcce-b302099a8057"}}"#),
            format!(r#"{{"name": "Rose", {rest}, "stock_delta": 1}}"#),
        ] {
            let status = new_flower(&body).unwrap_err().status;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        }
    }

    #[test]
    fn a_patch_tells_what_is_left_out_from_what_is_cleared() {
        let patch = flower_patch(r#"{"description": null}"#).unwrap();
        assert_eq!((patch.description, patch.image_url), (Some(None), None));
        for body in [
            r#"{"name": null}"#,
            r#"{"price": null}"#,
            r#"{"flower_type": null}"#,
            r#"{"stock_quantity": null}"#,
            r#"{"stock_delta": null}"#,
            r#"{"stock_quantity": 1, "stock_delta": 1}"#,
            r#"{"image_url": "rose.png"}"#,
            r#"{"version": 3}"#,
            "[]",
        ] {
            let status = flower_patch(body).unwrap_err().status;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        }
    }

    #[test]
    fn every_item_that_does_not_hold_is_named() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert!(new_bouquet(&format!(r#"[{{"flower_id": "{id}", "quantity": 1000}}]"#)).is_ok());
        for items in [
            "[]".to_owned(),
            "{}".to_owned(),
            format!(r#"[["{id}", 1]]"#),
            format!(r#"[{{"flower_id": "{id}", "quantity": 0}}]"#),
            r#"[{"flower_id": "rose", "quantity": 1}]"#.to_owned(),
            format!(r#"[{{"flower_id": "{id}", "quantity": 1, "price": 1}}]"#),
            format!(r#"[{{"flower_id": "{id}", "quantity": 1}}, {{"flower_id": "{id}", "quantity": 2}}]"#),
        ] {
            let status = new_bouquet(&items).unwrap_err().status;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{items}");
        }
    }
}
