//! The catalog's side of the saga, told by hand.

use crate::{alone, tell};
use anyhow::{Context, Result};
use contracts::{
    BouquetId, Event, EventId, FlowerId, Money, OrderCancelled, OrderCompleted, OrderCreated, OrderId,
    OrderLine, PaymentMethod, UserId,
};
use serde_json::{Value, json};
use shop_tests::events::cloud_event;
use shop_tests::{Actor, Shop};
use tokio::task::JoinSet;

async fn quiet_shop() -> Result<(Shop, Actor)> {
    let mut shop = Shop::prepare().await?;
    shop.start_host().await?;
    let admin = shop.anonymous()?.admin().await?;
    Ok((shop, admin))
}

fn event(event: impl Into<Event>) -> Result<Value> {
    cloud_event(EventId::new(), &event.into())
}

async fn flower(admin: &Actor, stock: u32) -> Result<FlowerId> {
    let body = json!({
        "name": format!("Rose {}", EventId::new()), "price": {"amount": "1.00", "currency": "RUB"},
        "stock_quantity": stock, "flower_type": "rose",
    });
    let flower = admin.post("/api/catalog/flowers", &body).await?.expect(201)?;
    Ok(flower["id"].as_str().context("no id")?.parse()?)
}

async fn stock_of(admin: &Actor, id: FlowerId) -> Result<i64> {
    let flower = admin
        .get(&format!("/api/catalog/flowers/{id}"))
        .await?
        .expect(200)?;
    flower["stock_quantity"].as_i64().context("no stock")
}

fn line(flower_id: FlowerId, quantity: u32) -> Result<OrderLine> {
    Ok(OrderLine {
        flower_id: Some(flower_id),
        bouquet_id: None,
        quantity,
        price: Money::rub(100)?,
    })
}

fn created(order_id: OrderId, items: Vec<OrderLine>) -> Result<Value> {
    event(OrderCreated {
        order_id,
        user_id: UserId::new(),
        total: Money::rub(100)?,
        payment_method: PaymentMethod::Visa,
        payment_due_at: None,
        items,
    })
}

fn cancelled(order_id: OrderId) -> Result<Value> {
    event(OrderCancelled {
        order_id,
        reason: "cancelled_by_user".to_owned(),
    })
}

async fn told(shop: &Shop, event_type: &str) -> Result<i64> {
    shop.count(&format!(
        "select count(*) from catalog.outbox_messages where event_type = '{event_type}'"
    ))
    .await
}

#[tokio::test]
async fn all_lines_are_reserved_or_none_and_nothing_is_sold_twice() -> Result<()> {
    let _alone = alone().await;
    let (shop, admin) = quiet_shop().await?;
    let (rose, tulip) = (flower(&admin, 3).await?, flower(&admin, 1).await?);
    let batch = [
        created(OrderId::new(), vec![line(rose, 2)?])?,
        // One rose is left: neither it nor the tulip is taken.
        created(OrderId::new(), vec![line(tulip, 1)?, line(rose, 2)?])?,
        created(OrderId::new(), vec![line(rose, 1)?, line(tulip, 1)?])?,
        created(OrderId::new(), vec![line(tulip, 1)?])?,
    ];
    assert_eq!(tell(&shop, "catalog", &batch).await?, ["processed"; 4]);
    assert_eq!(tell(&shop, "catalog", &batch).await?, ["duplicate"; 4]);
    assert_eq!(
        (stock_of(&admin, rose).await?, stock_of(&admin, tulip).await?),
        (0, 0)
    );
    assert_eq!(told(&shop, "StockReserved").await?, 2);
    assert_eq!(told(&shop, "StockRejected").await?, 2);
    Ok(())
}

#[tokio::test]
async fn what_is_cancelled_goes_back_once_and_what_is_completed_does_not() -> Result<()> {
    let _alone = alone().await;
    let (shop, admin) = quiet_shop().await?;
    let rose = flower(&admin, 10).await?;
    let (kept, returned) = (OrderId::new(), OrderId::new());
    let batch = [
        created(kept, vec![line(rose, 2)?])?,
        created(returned, vec![line(rose, 3)?])?,
    ];
    tell(&shop, "catalog", &batch).await?;
    assert_eq!(stock_of(&admin, rose).await?, 5);
    for _ in 0..2 {
        tell(&shop, "catalog", &[cancelled(returned)?]).await?;
        assert_eq!(stock_of(&admin, rose).await?, 8);
    }
    tell(&shop, "catalog", &[event(OrderCompleted { order_id: kept })?]).await?;
    assert_eq!(stock_of(&admin, rose).await?, 8);
    Ok(())
}

#[tokio::test]
async fn a_cancellation_that_comes_first_keeps_the_order_from_taking_anything() -> Result<()> {
    let _alone = alone().await;
    let (shop, admin) = quiet_shop().await?;
    let rose = flower(&admin, 10).await?;
    let order_id = OrderId::new();
    assert_eq!(
        tell(&shop, "catalog", &[cancelled(order_id)?]).await?,
        ["processed"]
    );
    let late = created(order_id, vec![line(rose, 3)?])?;
    assert_eq!(tell(&shop, "catalog", &[late]).await?, ["processed"]);
    assert_eq!(stock_of(&admin, rose).await?, 10);
    assert_eq!(told(&shop, "StockReserved").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_bouquet_takes_its_flowers() -> Result<()> {
    let _alone = alone().await;
    let (shop, admin) = quiet_shop().await?;
    let (rose, tulip) = (flower(&admin, 10).await?, flower(&admin, 10).await?);
    let category = json!({"name": format!("Gifts {}", EventId::new())});
    let category = admin
        .post("/api/catalog/categories", &category)
        .await?
        .expect(201)?;
    let bouquet = json!({
        "name": "Two kinds", "price": {"amount": "5.00", "currency": "RUB"}, "category_id": category["id"],
        "items": [{"flower_id": rose, "quantity": 3}, {"flower_id": tulip, "quantity": 1}],
    });
    let bouquet = admin.post("/api/catalog/bouquets", &bouquet).await?.expect(201)?;
    let bouquet_id: BouquetId = bouquet["id"].as_str().context("no id")?.parse()?;
    let two = OrderLine {
        flower_id: None,
        bouquet_id: Some(bouquet_id),
        quantity: 2,
        price: Money::rub(500)?,
    };
    tell(
        &shop,
        "catalog",
        &[created(OrderId::new(), vec![two, line(rose, 1)?])?],
    )
    .await?;
    assert_eq!(
        (stock_of(&admin, rose).await?, stock_of(&admin, tulip).await?),
        (3, 8)
    );
    Ok(())
}

#[tokio::test]
async fn two_carts_with_the_same_lines_in_other_orders_do_not_deadlock() -> Result<()> {
    let _alone = alone().await;
    let (shop, admin) = quiet_shop().await?;
    let shop = std::sync::Arc::new(shop);
    let (rose, tulip) = (flower(&admin, 25).await?, flower(&admin, 25).await?);
    let mut racing = JoinSet::new();
    for number in 0..40 {
        let mut lines = vec![line(rose, 1)?, line(tulip, 1)?];
        if number % 2 == 0 {
            lines.reverse();
        }
        let (shop, created) = (std::sync::Arc::clone(&shop), created(OrderId::new(), lines)?);
        racing.spawn(async move {
            while tell(&shop, "catalog", std::slice::from_ref(&created)).await? == ["retry"] {}
            anyhow::Ok(())
        });
    }
    racing.join_all().await.into_iter().collect::<Result<Vec<()>>>()?;
    assert_eq!(
        (stock_of(&admin, rose).await?, stock_of(&admin, tulip).await?),
        (0, 0)
    );
    assert_eq!(told(&shop, "StockReserved").await?, 25);
    assert_eq!(told(&shop, "StockRejected").await?, 15);
    // A deadlock would be a retry like any other: it is Postgres that knows, once the sessions have ended.
    let mut shop = std::sync::Arc::into_inner(shop).context("somebody still races")?;
    assert_eq!(shop.deadlocks().await?, 0);
    Ok(())
}
