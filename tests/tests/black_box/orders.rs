//! Orders as a client places and reads them.

use crate::anybody;
use anyhow::Result;
use serde_json::{Value, json};
use shop_tests::Actor;
use uuid::Uuid;

/// A user, and a flower for 150.00 that can be ordered.
async fn user_and_rose() -> Result<(Actor, String)> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose to be ordered", "150.00").await?;
    user.order_once_known(&rose, "pm_card_visa").await?;
    Ok((user, rose))
}

fn order(items: Value) -> Value {
    json!({"items": items, "delivery_address": "1 Rose Street"})
}

fn line(flower_id: &str, quantity: i64) -> Value {
    json!({"flower_id": flower_id, "quantity": quantity})
}

#[tokio::test]
async fn an_order_is_answered_as_it_can_be_read_later() -> Result<()> {
    let (user, rose) = user_and_rose().await?;
    let body = json!({
        "items": [line(&rose, 3)], "delivery_address": "  1 Rose Street  ", "payment_method": "pm_card_visa",
        "expected_total": {"amount": "450.00", "currency": "RUB"},
    });
    let answer = user.post("/api/orders", &body).await?;
    let order = answer.expect(201)?;
    let location = format!("/api/orders/{}", order["id"].as_str().unwrap_or_default());
    assert_eq!(answer.header("location"), location);
    assert_eq!(order["status"], "created");
    assert_eq!(order["status_reason"], Value::Null);
    assert_eq!(
        order["total_amount"],
        json!({"amount": "450.00", "currency": "RUB"})
    );
    assert_eq!(order["delivery_address"], "1 Rose Street");
    assert_eq!(order["payment_method"], "pm_card_visa");
    assert_eq!(order["user_id"].as_str(), user.id.as_deref());
    assert_eq!(order["items"][0]["flower_id"], rose.as_str());
    assert_eq!(order["items"][0]["bouquet_id"], Value::Null);
    assert_eq!(order["items"][0]["quantity"], 3);
    assert_eq!(order["items"][0]["price"]["amount"], "150.00");
    let created_at = order["created_at"].as_str().unwrap_or_default();
    assert_eq!(
        created_at.len(),
        "2026-01-02T03:04:05.123456Z".len(),
        "{created_at}"
    );

    let read = user.get(&location).await?.expect(200)?;
    for field in ["id", "items", "total_amount", "created_at", "delivery_address"] {
        assert_eq!(read[field], order[field], "{field}");
    }
    Ok(())
}

#[tokio::test]
async fn a_total_that_is_not_the_expected_one_is_409_and_says_what_it_is() -> Result<()> {
    let (user, rose) = user_and_rose().await?;
    let mut body = order(json!([line(&rose, 2)]));
    body["expected_total"] = json!({"amount": "0.02", "currency": "RUB"});
    let problem = user
        .post("/api/orders", &body)
        .await?
        .expect_problem(409, "other-total")?;
    assert_eq!(
        problem["total_amount"],
        json!({"amount": "300.00", "currency": "RUB"})
    );
    Ok(())
}

#[tokio::test]
async fn what_is_no_order_is_422_and_names_the_field() -> Result<()> {
    let (user, rose) = user_and_rose().await?;
    let nothing = Uuid::now_v7().to_string();
    let many: Vec<Value> = (0..51).map(|_| line(&Uuid::now_v7().to_string(), 1)).collect();
    let both = json!({"flower_id": rose, "bouquet_id": rose, "quantity": 1});
    let cases = [
        ("items", order(json!([]))),
        ("items", order(Value::Array(many))),
        ("items", order(json!([line(&rose, 1), line(&rose, 2)]))),
        ("items[0]", order(json!([line(&nothing, 1)]))),
        ("items[0]", order(json!([both]))),
        ("items[0]", order(json!([{"quantity": 1}]))),
        ("items[0].quantity", order(json!([line(&rose, 0)]))),
        ("items[0].quantity", order(json!([line(&rose, 1001)]))),
        ("items[0].quantity", order(json!([line(&rose, -1)]))),
        (
            "items[0].quantity",
            order(json!([{"flower_id": rose, "quantity": 1.5}])),
        ),
        (
            "items[0].quantity",
            order(json!([{"flower_id": rose, "quantity": "1"}])),
        ),
        ("items[0].flower_id", order(json!([line("rose", 1)]))),
        (
            "delivery_address",
            json!({"items": [line(&rose, 1)], "delivery_address": "   "}),
        ),
        (
            "delivery_address",
            json!({"items": [line(&rose, 1)], "delivery_address": "x".repeat(501)}),
        ),
        (
            "delivery_address",
            json!({"items": [line(&rose, 1)], "delivery_address": "a\u{0}b"}),
        ),
    ];
    for (field, body) in cases {
        let problem = user
            .post("/api/orders", &body)
            .await?
            .expect_problem(422, "validation")?;
        assert_eq!(problem["errors"][0]["field"], field, "{body} → {problem}");
    }
    let mut bitcoin = order(json!([line(&rose, 1)]));
    bitcoin["payment_method"] = json!("pm_bitcoin");
    user.post("/api/orders", &bitcoin)
        .await?
        .expect_problem(422, "validation")?;
    Ok(())
}

#[tokio::test]
async fn a_price_that_the_client_names_is_not_believed_nor_a_status_or_another_user() -> Result<()> {
    let (user, rose) = user_and_rose().await?;
    for (field, value) in [
        ("price", json!(1)),
        ("status", json!("completed")),
        ("user_id", json!("x")),
    ] {
        let mut body = order(json!([line(&rose, 1)]));
        body[field] = value.clone();
        user.post("/api/orders", &body)
            .await?
            .expect_problem(422, "validation")?;
        let mut body = order(json!([line(&rose, 1)]));
        body["items"][0][field] = value;
        user.post("/api/orders", &body)
            .await?
            .expect_problem(422, "validation")?;
    }
    let array = order(json!([[rose, 1]]));
    user.post("/api/orders", &array)
        .await?
        .expect_problem(422, "validation")?;
    Ok(())
}

#[tokio::test]
async fn a_list_shows_a_users_own_orders_newest_first_and_a_page_at_a_time() -> Result<()> {
    let (user, rose) = user_and_rose().await?;
    for _ in 0..3 {
        user.order(&rose, 1).await?.expect(201)?;
    }
    let all = user.get("/api/orders").await?.expect(200)?;
    assert_eq!(all["total"], 4);
    assert_eq!((&all["skip"], &all["limit"]), (&json!(0), &json!(20)));
    let times: Vec<&str> = all["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|order| order["created_at"].as_str())
        .collect();
    assert!(times.is_sorted_by(|earlier, later| earlier >= later), "{times:?}");

    let page = user.get("/api/orders?skip=1&limit=2").await?.expect(200)?;
    assert_eq!(page["items"][0]["id"], all["items"][1]["id"]);
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2));
    let beyond = user.get("/api/orders?skip=1000000").await?.expect(200)?;
    assert_eq!((&beyond["items"], &beyond["total"]), (&json!([]), &json!(4)));

    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "skip=-1",
        "skip=1000001",
        "status=eaten",
        "created_from=now",
    ] {
        user.get(&format!("/api/orders?{query}"))
            .await?
            .expect_problem(422, "validation")?;
    }
    user.get("/api/orders?colour=red").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_list_can_be_narrowed_by_status_time_and_for_an_admin_user() -> Result<()> {
    let (user, rose) = user_and_rose().await?;
    let declined = user
        .order_paying(&rose, 1, "pm_card_chargeDeclined")
        .await?
        .expect(201)?;
    let declined = declined["id"].as_str().unwrap_or_default();
    user.await_status(declined, "payment_failed").await?;
    let failed = user.get("/api/orders?status=payment_failed").await?.expect(200)?;
    assert_eq!(
        (&failed["total"], &failed["items"][0]["id"]),
        (&json!(1), &json!(declined))
    );
    let future = user
        .get("/api/orders?created_from=2100-01-01T00:00:00Z")
        .await?
        .expect(200)?;
    assert_eq!(future["total"], 0);
    let past = user
        .get("/api/orders?created_to=2000-01-01T00:00:00Z")
        .await?
        .expect(200)?;
    assert_eq!(past["total"], 0);

    let admin = anybody()?.admin().await?;
    let id = user.id.clone().unwrap_or_default();
    let theirs = admin
        .get(&format!("/api/orders?user_id={id}"))
        .await?
        .expect(200)?;
    assert_eq!(theirs["total"], 2);
    Ok(())
}
