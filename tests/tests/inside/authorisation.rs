//! Who may do what: every route, for everybody who may come along, as `docs/authorisation.md` has it.

use crate::alone;
use anyhow::{Context, Result, anyhow, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway::domain::OWN;
use hmac::{Hmac, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use shop_tests::environment::root;
use shop_tests::shop::JWT_KEY;
use shop_tests::{Actor, Answer, Shop};
use std::collections::BTreeSet;

/// Who comes along, in the order of the table's columns.
const VISITORS: [&str; 7] = [
    "nobody",
    "user",
    "other",
    "courier",
    "admin",
    "deactivated",
    "expired",
];

/// What is asked for under no prefix: it has none, or names it.
const BARE: [&str; 4] = ["/health", "/internal", "/docs", "/api"];

/// One line of the table.
struct Row {
    method: Method,
    /// With the names of what the scene has: `/orders/{unpaid_order}/cancel`.
    path: String,
    expected: Vec<u16>,
    body: Option<String>,
}

impl Row {
    fn read(line: &str) -> Result<Self> {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        ensure!(cells.len() == VISITORS.len() + 2, "not all columns: {line}");
        let (method, path) = cells[0].trim_matches('`').split_once(' ').context("no route")?;
        let expected = cells[1..=VISITORS.len()].iter().map(|cell| cell.parse());
        let expected: Result<Vec<u16>, std::num::ParseIntError> = expected.collect();
        let body = cells[VISITORS.len() + 1].trim_matches('`');
        Ok(Self {
            method: method.parse()?,
            path: path.to_owned(),
            expected: expected.with_context(|| line.to_owned())?,
            body: (!body.is_empty()).then(|| body.to_owned()),
        })
    }

    /// As a router names it, but for the names of the parameters.
    fn route(&self) -> String {
        route(&self.method, &self.path)
    }

    /// Under which prefixes it is asked for.
    fn prefixes(&self) -> &'static [&'static str] {
        if BARE.iter().any(|bare| self.path.starts_with(bare)) {
            &[""]
        } else if self.method == Method::GET {
            &["/api", "/api/v1", ""]
        } else {
            &["/api"]
        }
    }
}

fn route(method: &Method, path: &str) -> String {
    let nameless = |segment| {
        if str::starts_with(segment, '{') {
            "{}"
        } else {
            segment
        }
    };
    let segments: Vec<&str> = path.split('/').map(nameless).collect();
    format!("{method} {}", segments.join("/"))
}

fn table() -> Result<Vec<Row>> {
    let page = std::fs::read_to_string(root().join("docs/authorisation.md"))?;
    let rows: Vec<Row> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(Row::read)
        .collect::<Result<_>>()?;
    ensure!(!rows.is_empty(), "the table was not found");
    Ok(rows)
}

/// What the gateway answers itself.
fn of_the_gateway() -> BTreeSet<String> {
    OWN.iter().map(|(path, _)| route(&Method::GET, path)).collect()
}

#[test]
fn every_route_has_its_row_and_every_row_its_route() -> Result<()> {
    let mut served = of_the_gateway();
    let mut add = |routes: &mut dyn Iterator<Item = (&Method, &'static str)>| {
        served.extend(routes.map(|(method, path)| route(method, path)));
    };
    add(&mut auth::api::router().routes());
    add(&mut catalog::api::router().routes());
    add(&mut ordering::api::router().routes());
    add(&mut payment::api::router().routes());
    add(&mut delivery::api::router().routes());
    let rows = table()?;
    let written: BTreeSet<String> = rows.iter().map(Row::route).collect();
    ensure!(written.len() == rows.len(), "a route has two rows");
    let missing: Vec<_> = served.difference(&written).collect();
    ensure!(missing.is_empty(), "routes without a row: {missing:#?}");
    let unknown: Vec<_> = written.difference(&served).collect();
    ensure!(unknown.is_empty(), "rows without a route: {unknown:#?}");
    Ok(())
}

/// A shop with all that the table speaks of.
struct Scene {
    shop: Shop,
    user: Actor,
    /// Who the visitors are; `deactivated` and `user` are the same.
    visitors: Vec<Actor>,
    /// What the table calls it, and its id.
    names: Vec<(&'static str, String)>,
}

impl Scene {
    async fn set() -> Result<Self> {
        let shop = Shop::start().await?;
        let nobody = shop.anonymous()?;
        let (user, other) = (nobody.register().await?, nobody.register().await?);
        let (courier, admin) = (nobody.courier().await?, nobody.admin().await?);
        let expired = user.with_token(&expired(user.token().context("no token")?)?);

        let flower = admin.add_flower("Red rose", "150.00").await?;
        let spare_flower = admin.add_flower("Spare rose", "150.00").await?;
        let category = created(&admin, "categories", json!({"name": "Roses"})).await?;
        let spare_category = created(&admin, "categories", json!({"name": "Spare"})).await?;
        let new_bouquet = json!({
            "name": "Roses", "price": {"amount": "450.00", "currency": "RUB"}, "category_id": category,
            "items": [{"flower_id": flower, "quantity": 3}],
        });
        let bouquet = created(&admin, "bouquets", new_bouquet.clone()).await?;
        let spare_bouquet = created(&admin, "bouquets", new_bouquet).await?;

        let order = user.order_once_known(&flower, "pm_card_visa").await?;
        let returned = user.order_once_known(&flower, "pm_card_visa").await?;
        let unpaid_order = user.order_once_known(&flower, "pm_card_chargeDeclined").await?;
        user.await_status(&unpaid_order, "payment_failed").await?;
        for order in [&order, &returned] {
            user.await_status(order, "shipping").await?;
        }
        let payments = user
            .get(&format!("/api/payments/order/{order}"))
            .await?
            .expect(200)?;
        let names = vec![
            ("{flower}", flower),
            ("{spare_flower}", spare_flower),
            ("{category}", category),
            ("{spare_category}", spare_category),
            ("{bouquet}", bouquet),
            ("{spare_bouquet}", spare_bouquet),
            ("{unpaid_order}", unpaid_order),
            ("{payment}", id(&payments["items"][0])?),
            ("{shipment}", shipment_of(&user, &order).await?),
            ("{returned_shipment}", shipment_of(&user, &returned).await?),
            ("{order}", order),
            ("{other_user}", other.id.clone().context("other is nobody")?),
        ];
        let visitors = vec![nobody, user.clone(), other, courier, admin, user.clone(), expired];
        Ok(Self {
            shop,
            user,
            visitors,
            names,
        })
    }

    async fn deactivate_user(&self) -> Result<()> {
        let deactivate = "update auth.users set is_active = false where id = $1::text::uuid";
        let changed = self
            .shop
            .database()
            .await?
            .execute(deactivate, &[&self.user.id])
            .await?;
        ensure!(changed == 1, "there is no such user");
        Ok(())
    }

    fn named(&self, text: &str) -> String {
        let fill = |text: String, (name, id): &(&str, String)| text.replace(name, id);
        self.names.iter().fold(text.to_owned(), fill)
    }

    async fn ask(&self, visitor: &Actor, prefix: &str, row: &Row) -> Result<Answer> {
        let path = format!("{prefix}{}", self.named(&row.path));
        ensure!(!path.contains('{'), "the scene has nothing for {path}");
        let mut request = visitor.request(row.method.clone(), &path);
        if let Some(body) = &row.body {
            let body = self.named(body);
            serde_json::from_str::<Value>(&body).with_context(|| body.clone())?;
            request = request.header("content-type", "application/json").body(body);
        }
        visitor.send(request).await
    }

    /// What is not as the table has it, of this visitor.
    async fn walk(&self, rows: &[Row], column: usize) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for row in rows {
            for prefix in row.prefixes() {
                let answer = self.ask(&self.visitors[column], prefix, row).await?;
                let expected = row.expected[column];
                if let Err(error) = check(&answer, expected) {
                    let (method, path, visitor) = (&row.method, &row.path, VISITORS[column]);
                    wrong.push(format!("{method} {prefix}{path} by {visitor}: {error}"));
                }
            }
        }
        Ok(wrong)
    }
}

/// The expected status, and with a refusal what belongs to it.
fn check(answer: &Answer, expected: u16) -> Result<()> {
    let slug = match expected {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not-found",
        _ => return answer.expect(expected).map(drop),
    };
    answer.expect_problem(expected, slug).map(drop)
}

fn id(object: &Value) -> Result<String> {
    object["id"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no id: {object}"))
}

async fn created(admin: &Actor, kind: &str, body: Value) -> Result<String> {
    id(&admin
        .post(&format!("/api/catalog/{kind}"), &body)
        .await?
        .expect(201)?)
}

async fn shipment_of(user: &Actor, order: &str) -> Result<String> {
    id(&user
        .get(&format!("/api/delivery/order/{order}"))
        .await?
        .expect(200)?)
}

/// The same token, but for the time of its end, and signed as auth would.
fn expired(token: &str) -> Result<String> {
    let mut parts = token.split('.');
    let (header, claims) = parts.next().zip(parts.next()).context("this is no token")?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let issued = claims["iat"].as_u64().context("no iat")?;
    claims["iat"] = json!(issued - 3_600);
    claims["exp"] = json!(issued - 1_800);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mac = Hmac::<Sha256>::new_from_slice(JWT_KEY.as_bytes()).map_err(|_| anyhow!("no key"))?;
    let mac = mac.chain_update(&signed);
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Ok(format!("{signed}.{signature}"))
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_says_and_nobody_else() -> Result<()> {
    let _alone = alone().await;
    let rows = table()?;
    let scene = Scene::set().await?;
    let (mut wrong, mut later) = (Vec::new(), Vec::new());
    for (column, visitor) in VISITORS.iter().enumerate() {
        match *visitor {
            "deactivated" => later.push(column),
            _ => wrong.extend(scene.walk(&rows, column).await?),
        }
    }
    scene.deactivate_user().await?;
    for column in later {
        wrong.extend(scene.walk(&rows, column).await?);
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn nothing_internal_is_reached_through_the_gateway() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    shop.start_host().await?;
    let admin = shop.anonymous()?.admin().await?;
    let internal: Vec<Row> = table()?
        .into_iter()
        .filter(|row| row.path.starts_with("/internal"))
        .collect();
    ensure!(internal.len() > 5, "only {} routes are internal", internal.len());
    for row in internal {
        for prefix in ["/api", "/api/v1", "/orders", "/api/orders", "/api/v1/delivery"] {
            let path = format!("{prefix}{}", row.path);
            let answer = admin.send(admin.request(row.method.clone(), &path)).await?;
            answer.expect_problem(404, "no-route").context(path)?;
        }
    }
    Ok(())
}
