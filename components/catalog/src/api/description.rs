//! What the catalog's routes take and answer. It is compiled for the tests alone, which hold `openapi.json` against it.

use super::shapes::{
    BouquetBody, BouquetPatchBody, CategoryBody, CategoryPatchBody, FlowerBody, FlowerPatchBody,
    NewBouquetBody, NewCategoryBody, NewFlowerBody, NewItemBody,
};
use crate::domain::{
    Bouquet, BouquetItem, BouquetPatch, Category, CategoryPatch, Flower, FlowerPatch, FlowerType, NewBouquet,
    NewCategory, NewFlower,
};
use contracts::Money;
use description::values::EXAMPLE_ID;
use description::{
    Access, Description, Operation, Taken, by_id, delete, expect_described, get, patch, post, problems, query,
};
use serde_json::{Value, json};
use service::json::from_slice;

const ADMIN: Access = Access::Only(&["admin"]);
const CREATED: &str = "2026-01-31T12:00:00Z";

fn describe() -> Description {
    let description =
        Description::new("catalog", "Catalog", "What there is to buy.").with_part::<NewItemBody>();
    let operations = flowers().into_iter().chain(bouquets()).chain(categories());
    operations.fold(description, Description::with).of_itself(
        ["catalogHealth", "catalogDescription"],
        ["/catalog/health", "/catalog/openapi.json"],
    )
}

fn flowers() -> [Operation; 5] {
    let one = || by_id("id", "The flower.");
    let search = json!({"type": "string", "maxLength": 100, "pattern": r"^[^\u0000]*$"});
    let kind = json!({"$ref": "#/components/schemas/FlowerType"});
    [
        get("/catalog/flowers", "listFlowers", "Flowers, newest first")
            .with(query("search", "A literal part of the name, without case.", search))
            .with(query("flower_type", "Only of this kind.", kind))
            .paged()
            .answers_page("A page of flowers.", &flower())
            .cached(),
        post("/catalog/flowers", "createFlower", "Add a flower")
            .only_for(ADMIN)
            .takes::<NewFlowerBody>(Taken::Always, new_flower())
            .answers(201, "The flower.", &flower())
            .located()
            .tagged(201),
        get("/catalog/flowers/{id}", "showFlower", "One flower")
            .with(one())
            .answers(200, "The flower.", &flower())
            .cached(),
        patch("/catalog/flowers/{id}", "changeFlower", "Change a flower")
            .text(
                "A merge patch: what is left out stays, null clears what may be empty. Stock is changed by \
                 `stock_delta`, or by `stock_quantity` with `If-Match`, so that a correction never undoes a sale.",
            )
            .only_for(ADMIN)
            .with(one())
            .guarded()
            .takes::<FlowerPatchBody>(Taken::Always, flower_patch())
            .takes_not_both::<FlowerPatchBody>(["stock_quantity", "stock_delta"])
            .answers(200, "The flower as it is then.", &flower())
            .tagged(200)
            .refuses(&[problems::PRECONDITION_REQUIRED, problems::STOCK_OUT_OF_RANGE]),
        delete("/catalog/flowers/{id}", "deleteFlower", "Remove a flower")
            .only_for(ADMIN)
            .with(one())
            .guarded()
            .answers_nothing(204, "It is gone, and cannot be ordered. Orders keep it.")
            .refuses(&[problems::FLOWER_IN_BOUQUET]),
    ]
}

fn bouquets() -> [Operation; 5] {
    let one = || by_id("id", "The bouquet.");
    let category = json!({"type": "string", "format": "uuid"});
    [
        get("/catalog/bouquets", "listBouquets", "Bouquets, newest first")
            .with(query("category_id", "Only of this category.", category))
            .paged()
            .answers_page("A page of bouquets.", &bouquet())
            .cached(),
        post("/catalog/bouquets", "createBouquet", "Add a bouquet")
            .only_for(ADMIN)
            .takes::<NewBouquetBody>(Taken::Always, new_bouquet())
            .answers(201, "The bouquet.", &bouquet())
            .located()
            .tagged(201),
        get("/catalog/bouquets/{id}", "showBouquet", "One bouquet")
            .with(one())
            .answers(200, "The bouquet.", &bouquet())
            .cached(),
        patch("/catalog/bouquets/{id}", "changeBouquet", "Change a bouquet")
            .text("A merge patch: what is left out stays, null clears what may be empty.")
            .only_for(ADMIN)
            .with(one())
            .guarded()
            .takes::<BouquetPatchBody>(Taken::Always, bouquet_patch())
            .answers(200, "The bouquet as it is then.", &bouquet())
            .tagged(200),
        delete("/catalog/bouquets/{id}", "deleteBouquet", "Remove a bouquet")
            .only_for(ADMIN)
            .with(one())
            .guarded()
            .answers_nothing(204, "It is gone, and cannot be ordered. Orders keep it."),
    ]
}

fn categories() -> [Operation; 5] {
    let one = || by_id("id", "The category.");
    [
        get(
            "/catalog/categories",
            "listCategories",
            "Categories of bouquets, newest first",
        )
        .paged()
        .answers_page("A page of categories.", &category())
        .cached(),
        post("/catalog/categories", "createCategory", "Add a category")
            .only_for(ADMIN)
            .takes::<NewCategoryBody>(Taken::Always, new_category())
            .answers(201, "The category.", &category())
            .located()
            .tagged(201)
            .refuses(&[problems::CATEGORY_NAME_TAKEN]),
        get("/catalog/categories/{id}", "showCategory", "One category")
            .with(one())
            .answers(200, "The category.", &category())
            .cached(),
        patch("/catalog/categories/{id}", "changeCategory", "Change a category")
            .text("A merge patch: what is left out stays, null clears what may be empty.")
            .only_for(ADMIN)
            .with(one())
            .guarded()
            .takes::<CategoryPatchBody>(Taken::Always, category_patch())
            .answers(200, "The category as it is then.", &category())
            .tagged(200)
            .refuses(&[problems::CATEGORY_NAME_TAKEN]),
        delete("/catalog/categories/{id}", "deleteCategory", "Remove a category")
            .only_for(ADMIN)
            .with(one())
            .guarded()
            .answers_nothing(204, "It is gone.")
            .refuses(&[problems::CATEGORY_HAS_BOUQUETS]),
    ]
}

fn new_flower() -> Value {
    json!({
        "name": "Red Rose", "description": "Smells of summer.", "price": {"amount": "150.00", "currency": "RUB"},
        "stock_quantity": 100, "flower_type": "rose", "image_url": "https://example.com/red-rose.jpg",
    })
}

fn flower_patch() -> Value {
    json!({"price": {"amount": "140.00", "currency": "RUB"}, "stock_delta": -2, "description": null})
}

fn new_bouquet() -> Value {
    json!({
        "name": "Romantic Bouquet", "price": {"amount": "500.00", "currency": "RUB"}, "category_id": EXAMPLE_ID,
        "items": [{"flower_id": EXAMPLE_ID, "quantity": 7}],
    })
}

fn bouquet_patch() -> Value {
    json!({"name": "Very Romantic Bouquet", "items": [{"flower_id": EXAMPLE_ID, "quantity": 9}]})
}

fn new_category() -> Value {
    json!({"name": "Weddings", "description": "For the day of all days."})
}

fn category_patch() -> Value {
    json!({"description": null})
}

fn flower() -> FlowerBody {
    let created_at = CREATED.parse().unwrap();
    FlowerBody::from(Flower {
        id: EXAMPLE_ID.parse().unwrap(),
        name: "Red Rose".to_owned(),
        description: Some("Smells of summer.".to_owned()),
        price: Money::rub(15_000).unwrap(),
        stock_quantity: 100,
        flower_type: FlowerType::Rose,
        image_url: Some("https://example.com/red-rose.jpg".to_owned()),
        version: 1,
        created_at,
        updated_at: created_at,
    })
}

fn bouquet() -> BouquetBody {
    let created_at = CREATED.parse().unwrap();
    let item = BouquetItem {
        flower_id: EXAMPLE_ID.parse().unwrap(),
        quantity: 7.try_into().unwrap(),
    };
    BouquetBody::from(Bouquet {
        id: EXAMPLE_ID.parse().unwrap(),
        name: "Romantic Bouquet".to_owned(),
        description: None,
        price: Money::rub(50_000).unwrap(),
        category_id: EXAMPLE_ID.parse().unwrap(),
        items: vec![item],
        image_url: None,
        version: 1,
        created_at,
        updated_at: created_at,
    })
}

fn category() -> CategoryBody {
    CategoryBody::from(Category {
        id: EXAMPLE_ID.parse().unwrap(),
        name: "Weddings".to_owned(),
        description: Some("For the day of all days.".to_owned()),
        version: 1,
        created_at: CREATED.parse().unwrap(),
    })
}

#[test]
fn the_file_that_is_served_describes_every_route_as_the_code_has_it() {
    expect_described(super::router().routes(), &describe(), env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn the_examples_of_requests_hold() {
    let new: NewFlowerBody = from_slice(new_flower().to_string().as_bytes()).unwrap();
    assert!(NewFlower::try_from(new).is_ok());
    let patch: FlowerPatchBody = from_slice(flower_patch().to_string().as_bytes()).unwrap();
    assert!(FlowerPatch::try_from(patch).is_ok());
    let new: NewBouquetBody = from_slice(new_bouquet().to_string().as_bytes()).unwrap();
    assert!(NewBouquet::try_from(new).is_ok());
    let patch: BouquetPatchBody = from_slice(bouquet_patch().to_string().as_bytes()).unwrap();
    assert!(BouquetPatch::try_from(patch).is_ok());
    let new: NewCategoryBody = from_slice(new_category().to_string().as_bytes()).unwrap();
    assert!(NewCategory::try_from(new).is_ok());
    let patch: CategoryPatchBody = from_slice(category_patch().to_string().as_bytes()).unwrap();
    assert!(CategoryPatch::try_from(patch).is_ok());
}
