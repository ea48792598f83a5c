//! The catalog as customers read it and an admin keeps it.

use crate::anybody;
use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::{Actor, Answer, eventually};
use std::io::Read as _;
use std::time::Duration;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(10);

fn flower(name: &str) -> Value {
    json!({
        "name": name, "price": {"amount": "150.00", "currency": "RUB"}, "stock_quantity": 10, "flower_type": "rose",
    })
}

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["name"].as_str())
        .collect()
}

#[tokio::test]
async fn the_demo_shop_has_the_flowers_of_the_reference() -> Result<()> {
    let anybody = anybody()?;
    for (name, amount) in [
        ("Red Rose", "150.00"),
        ("White Rose", "140.00"),
        ("Pink Tulip", "120.00"),
        ("White Lily", "130.00"),
        ("Purple Orchid", "200.00"),
    ] {
        let path = format!("/api/catalog/flowers?search={}", name.replace(' ', "%20"));
        let list = anybody.get(&path).await?.expect(200)?;
        assert!(names(&list).contains(&name), "{list}");
        assert_eq!(list["items"][0]["price"]["amount"], amount);
    }
    let bouquets = anybody
        .get("/api/catalog/bouquets?limit=100")
        .await?
        .expect(200)?;
    for name in ["Romantic Bouquet", "Birthday Bouquet"] {
        assert!(names(&bouquets).contains(&name), "{bouquets}");
    }
    assert!(anybody.get("/api/catalog/categories").await?.expect(200)?["total"].as_i64() >= Some(3));
    Ok(())
}

#[tokio::test]
async fn a_flower_is_made_read_changed_and_removed() -> Result<()> {
    let (anybody, admin) = (anybody()?, anybody()?.admin().await?);
    let answer = admin
        .post("/api/catalog/flowers", &flower("  Made Rose  "))
        .await?;
    let made = answer.expect(201)?;
    let path = answer.header("location").to_owned();
    assert_eq!(made["name"], "Made Rose");
    assert_eq!(anybody.get(&path).await?.expect(200)?, made);
    assert_eq!(
        anybody.get(&path).await?.expect(200)?,
        made,
        "and from the cache too"
    );

    let changed = admin
        .patch(&path, &json!({"description": "Red", "stock_delta": -3}))
        .await?
        .expect(200)?;
    assert_eq!(changed["description"], "Red");
    assert_eq!(changed["stock_quantity"], 7);
    assert_eq!(changed["name"], "Made Rose");
    assert_eq!(anybody.get(&path).await?.expect(200)?, changed);
    let cleared = admin
        .patch(&path, &json!({"description": null}))
        .await?
        .expect(200)?;
    assert!(cleared["description"].is_null());

    assert_eq!(admin.delete(&path).await?.status, 204);
    anybody.get(&path).await?.expect_problem(404, "not-found")?;
    admin.delete(&path).await?.expect_problem(404, "not-found")?;
    Ok(())
}

#[tokio::test]
async fn stock_is_set_only_by_whoever_has_seen_it_and_never_goes_below_zero() -> Result<()> {
    let admin = anybody()?.admin().await?;
    let answer = admin
        .post("/api/catalog/flowers", &flower("Counted Rose"))
        .await?;
    answer.expect(201)?;
    let path = answer.header("location").to_owned();
    let set = json!({"stock_quantity": 5});
    assert_eq!(admin.patch(&path, &set).await?.status, 428);
    let seen = admin.get(&path).await?.header("etag").to_owned();
    assert!(!seen.is_empty());
    let conditional = |tag: &str| {
        admin
            .request(Method::PATCH, &path)
            .header("if-match", tag)
            .json(&set)
    };
    assert_eq!(
        admin.send(conditional(&seen)).await?.expect(200)?["stock_quantity"],
        5
    );
    assert_eq!(admin.send(conditional(&seen)).await?.status, 412);
    let below = admin.patch(&path, &json!({"stock_delta": -6})).await?;
    assert!([409, 422].contains(&below.status.as_u16()), "{}", below.text);
    Ok(())
}

#[tokio::test]
async fn a_write_is_seen_by_every_reader_once_it_is_answered() -> Result<()> {
    let (anybody, admin) = (anybody()?, anybody()?.admin().await?);
    let id = admin.add_flower("Restless Rose", "1.00").await?;
    let path = format!("/api/catalog/flowers/{id}");
    let search = format!("/api/catalog/flowers?search=Restless&limit=100&{id}");
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (anybody, path) = (anybody.clone(), path.clone());
        readers.spawn(async move {
            for _ in 0..200 {
                anybody.get(&path).await?.expect(200)?;
            }
            anyhow::Ok(())
        });
    }
    for round in 2..40 {
        let price = json!({"price": {"amount": format!("{round}.00"), "currency": "RUB"}});
        admin.patch(&path, &price).await?.expect(200)?;
        let one = anybody.get(&path).await?.expect(200)?;
        assert_eq!(one["price"], price["price"], "a reader saw an old value");
        let list = anybody.get(&search).await?.expect(200)?;
        let listed = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|item| item["id"] == id.as_str());
        assert_eq!(
            listed.context("not listed")?["price"],
            price["price"],
            "a list showed an old value"
        );
    }
    readers.join_all().await.into_iter().collect()
}

/// Asks for `path` as a client that has what this entity tag names.
async fn ask_again(actor: &Actor, method: Method, path: &str, etag: &str) -> Result<Answer> {
    actor
        .send(actor.request(method, path).header("if-none-match", etag))
        .await
}

#[tokio::test]
async fn who_has_it_already_is_told_so_and_is_told_when_it_changes() -> Result<()> {
    let (anybody, admin) = (anybody()?, anybody()?.admin().await?);
    let mark = Uuid::now_v7().simple().to_string();
    let rose = admin.add_flower(&format!("Known {mark}"), "1.00").await?;
    let category = json!({"name": format!("Known {mark}")});
    let category = admin
        .post("/api/catalog/categories", &category)
        .await?
        .expect(201)?["id"]
        .as_str()
        .context("no id")?
        .to_owned();
    let bouquet = json!({
        "name": "Known Bouquet", "price": {"amount": "5.00", "currency": "RUB"}, "category_id": category,
        "items": [{"flower_id": rose, "quantity": 1}],
    });
    let bouquet = admin.post("/api/catalog/bouquets", &bouquet).await?.expect(201)?["id"]
        .as_str()
        .context("no id")?
        .to_owned();

    let (flower, bouquet, category) = (
        format!("/api/catalog/flowers/{rose}"),
        format!("/api/catalog/bouquets/{bouquet}"),
        format!("/api/catalog/categories/{category}"),
    );
    for (path, changed_by) in [
        (flower.clone(), &flower),
        (format!("/api/catalog/flowers?search={mark}"), &flower),
        (
            format!("/api/catalog/flowers?search={mark}&flower_type=rose"),
            &flower,
        ),
        (bouquet.clone(), &bouquet),
        ("/api/catalog/bouquets?limit=100".to_owned(), &bouquet),
        (category.clone(), &category),
        ("/api/catalog/categories?limit=100".to_owned(), &category),
    ] {
        // Others may change a list of all at any time, so what was read and what is asked for again is compared.
        let look = async || {
            let first = anybody.get(&path).await?;
            first.expect(200)?;
            let etag = first.header("etag").to_owned();
            ensure!(etag.starts_with('"'), "{path}: {:?}", first.headers);
            ensure!(
                first.header("cache-control") == "public, no-cache",
                "{:?}",
                first.headers
            );
            let again = ask_again(&anybody, Method::GET, &path, &etag).await?;
            if again.status == 200 {
                ensure!(again.header("etag") != etag && again.text != first.text, "{path}");
                return Ok(None);
            }
            ensure!(
                again.status == 304 && again.text.is_empty(),
                "{path}: {}",
                again.text
            );
            ensure!(again.header("etag") == etag, "{path}: {:?}", again.headers);
            ensure!(
                again.header("cache-control") == "public, no-cache",
                "{:?}",
                again.headers
            );
            Ok(Some(etag))
        };
        let etag = eventually(&path, PATIENCE, look).await?;
        let weak = format!("\"other\", W/{etag}");
        for tag in [weak.as_str(), "*"] {
            let known = ask_again(&anybody, Method::HEAD, &path, tag).await?;
            ensure!(
                known.status == 304 || !is_alone(&path),
                "{path} {tag}: {}",
                known.status
            );
        }
        for tag in ["\"other\"", "other", ""] {
            let unknown = ask_again(&anybody, Method::GET, &path, tag).await?;
            ensure!(unknown.status == 200, "{path} {tag}: {}", unknown.status);
        }

        let description = json!({"description": Uuid::now_v7()});
        let answer = admin.patch(changed_by, &description).await?;
        answer.expect(200)?;
        let fresh = ask_again(&anybody, Method::GET, &path, &etag).await?;
        fresh.expect(200)?;
        ensure!(
            fresh.header("etag") != etag,
            "{path} has changed, its tag has not"
        );
        if path == *changed_by {
            ensure!(fresh.header("etag") == answer.header("etag"), "{path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_long_list_is_compressed_for_who_takes_that_and_each_form_has_its_tag() -> Result<()> {
    let (anybody, admin) = (anybody()?, anybody()?.admin().await?);
    let mark = Uuid::now_v7().simple().to_string();
    for number in 0..6 {
        admin
            .add_flower(&format!("Pressed {mark} {number}"), "1.00")
            .await?;
    }
    let path = format!("/api/catalog/flowers?search={mark}");
    let ask = |codings: &str, etag: &str| {
        let request = anybody.request(Method::GET, &path);
        request
            .header("accept-encoding", codings)
            .header("if-none-match", etag)
    };
    // The second time it comes from the cache.
    for _ in 0..2 {
        let plain = anybody.send(ask("br, gzip;q=0", "\"x\"")).await?;
        plain.expect(200)?;
        ensure!(plain.header("vary") == "accept-encoding", "{:?}", plain.headers);
        ensure!(plain.header("content-encoding").is_empty(), "{:?}", plain.headers);

        let answer = ask("br, gzip", "\"x\"").send().await?;
        ensure!(answer.status() == 200, "{answer:?}");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        ensure!(header("content-encoding") == Some("gzip"), "{answer:?}");
        ensure!(header("vary") == Some("accept-encoding"), "{answer:?}");
        ensure!(header("cache-control") == Some("public, no-cache"), "{answer:?}");
        let etag = header("etag").context("no tag")?.to_owned();
        ensure!(etag != plain.header("etag"), "two forms, one tag: {etag}");
        let bytes = answer.bytes().await?;
        ensure!(
            bytes.len() * 2 < plain.text.len(),
            "{} bytes of {}",
            bytes.len(),
            plain.text.len()
        );
        let mut text = String::new();
        GzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
        assert_eq!(text, plain.text);

        let known = anybody.send(ask("gzip", &etag)).await?;
        ensure!(known.status == 304 && known.header("etag") == etag, "{known:?}");
        ensure!(known.header("content-encoding").is_empty(), "{known:?}");
        let other = anybody.send(ask("identity", &etag)).await?;
        ensure!(
            other.status == 200 && other.header("etag") == plain.header("etag"),
            "{other:?}"
        );
    }
    let short = anybody.request(Method::GET, "/api/catalog/categories?limit=1");
    let short = anybody.send(short.header("accept-encoding", "gzip")).await?;
    short.expect(200)?;
    ensure!(short.header("content-encoding").is_empty(), "{:?}", short.headers);
    Ok(())
}

/// Whether no other test changes what stands at `path`.
fn is_alone(path: &str) -> bool {
    !path.contains("limit=100")
}

#[tokio::test]
async fn search_is_literal_and_blind_to_case_in_every_script() -> Result<()> {
    let (anybody, admin) = (anybody()?, anybody()?.admin().await?);
    let mark = Uuid::now_v7().simple().to_string();
    let name = format!("50%_Роза\\{mark}");
    admin
        .post("/api/catalog/flowers", &flower(&name))
        .await?
        .expect(201)?;
    let find = async |search: &str| -> Result<usize> {
        let request = anybody
            .request(Method::GET, "/api/catalog/flowers")
            .query(&[("search", search)]);
        let list = anybody.send(request).await?.expect(200)?;
        Ok(names(&list).iter().filter(|found| **found == name).count())
    };
    assert_eq!(find(&format!("роза\\{}", mark.to_uppercase())).await?, 1);
    assert_eq!(find("0%_р").await?, 1);
    assert_eq!(find(&format!("%{mark}")).await?, 0);
    assert_eq!(find(&format!("_{mark}")).await?, 0);
    for search in ["a%00b", &"x".repeat(101)] {
        anybody
            .get(&format!("/api/catalog/flowers?search={search}"))
            .await?
            .expect_problem(422, "validation")?;
    }
    anybody
        .get("/api/catalog/flowers?flower_type=weed")
        .await?
        .expect_problem(422, "validation")?;
    Ok(())
}

#[tokio::test]
async fn bad_flowers_are_422() -> Result<()> {
    let admin = anybody()?.admin().await?;
    let price = |amount: &str| json!({"amount": amount, "currency": "RUB"});
    let cases = [
        ("name", json!("  ")),
        ("name", json!("x".repeat(201))),
        ("name", json!("a\u{0}b")),
        ("price", price("0.00")),
        ("price", price("10000000.00")),
        ("price", price("1.5")),
        ("price", json!(1.5)),
        ("price", json!({"amount": "1.00", "currency": "USD"})),
        ("price", json!(["1.00", "RUB"])),
        ("stock_quantity", json!(-1)),
        ("stock_quantity", json!(1_000_001)),
        ("flower_type", json!("weed")),
        ("description", json!("x".repeat(5001))),
        ("role", json!("admin")),
    ];
    for (field, value) in cases {
        let mut body = flower("Bad Rose");
        body[field] = value.clone();
        let answer = admin.post("/api/catalog/flowers", &body).await?;
        assert_eq!(answer.status, 422, "{field}: {value}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test]
async fn bouquets_hold_their_flowers_and_categories_their_bouquets() -> Result<()> {
    let admin = anybody()?.admin().await?;
    let rose = admin.add_flower("Bound Rose", "150.00").await?;
    let name = format!("Category {}", Uuid::now_v7());
    let category = admin
        .post("/api/catalog/categories", &json!({"name": name}))
        .await?
        .expect(201)?;
    assert_eq!(
        admin
            .post("/api/catalog/categories", &json!({"name": name}))
            .await?
            .status,
        409
    );
    let body = json!({
        "name": "Bound Bouquet", "price": {"amount": "500.00", "currency": "RUB"}, "category_id": category["id"],
        "items": [{"flower_id": rose, "quantity": 7}],
    });
    let bouquet = admin.post("/api/catalog/bouquets", &body).await?.expect(201)?;
    assert_eq!(bouquet["items"][0]["quantity"], 7);
    let path = |kind: &str, value: &Value| {
        format!("/api/catalog/{kind}/{}", value["id"].as_str().unwrap_or_default())
    };

    assert_eq!(
        admin
            .delete(&format!("/api/catalog/flowers/{rose}"))
            .await?
            .status,
        409
    );
    assert_eq!(admin.delete(&path("categories", &category)).await?.status, 409);
    let in_category = format!(
        "/api/catalog/bouquets?category_id={}",
        category["id"].as_str().unwrap_or_default()
    );
    assert_eq!(admin.get(&in_category).await?.expect(200)?["total"], 1);

    assert_eq!(admin.delete(&path("bouquets", &bouquet)).await?.status, 204);
    assert_eq!(
        admin
            .delete(&format!("/api/catalog/flowers/{rose}"))
            .await?
            .status,
        204
    );
    assert_eq!(admin.delete(&path("categories", &category)).await?.status, 204);

    let mut orphan = body.clone();
    orphan["items"][0]["flower_id"] = json!(Uuid::now_v7());
    admin
        .post("/api/catalog/bouquets", &orphan)
        .await?
        .expect_problem(422, "validation")?;
    Ok(())
}
