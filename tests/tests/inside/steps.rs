//! The thirteen steps of the architecture, each seen where it leaves its mark: rows, messages, statuses, history.

use crate::alone;
use anyhow::{Context, Result};
use futures::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use shop_tests::environment::variable;
use shop_tests::{Shop, eventually};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_thirteen_steps_leave_their_marks() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start().await?;
    let (user, courier) = (
        shop.anonymous()?.register().await?,
        shop.anonymous()?.courier().await?,
    );
    let rose = user.rose().await?;

    // An ear at the exchange hears what the relay publishes.
    let connection =
        Connection::connect(&variable("SHOP_TEST_AMQP")?, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let queue = channel
        .queue_declare(
            "".into(),
            QueueDeclareOptions {
                exclusive: true,
                ..Default::default()
            },
            FieldTable::default(),
        )
        .await?;
    let name = queue.name().clone();
    let exchange = shop.at_broker("flower_shop");
    user.order_once_known(&rose, "pm_card_chargeDeclined").await?;
    channel
        .queue_bind(
            name.clone(),
            exchange.into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let mut ear = channel
        .basic_consume(
            name,
            "ear".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;

    // 1 and 2: the order, its items and OrderCreated in one commit.
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    let database = shop.database().await?;
    let count = async |query: &str| -> Result<i64> {
        let id: uuid::Uuid = order_id.parse()?;
        Ok(database.query_one(query, &[&id]).await?.get(0))
    };
    assert_eq!(
        count("select count(*) from ordering.order_items where order_id = $1").await?,
        1
    );

    // 3 to 10: what was published, in the order in which it was.
    user.await_status(&order_id, "shipping").await?;
    assert_eq!(
        count("select count(*) from payment.payments where order_id = $1 and status = 'completed'").await?,
        1
    );
    assert_eq!(
        count("select count(*) from delivery.shipments where order_id = $1 and status = 'shipped'").await?,
        1
    );

    // 11 to 13.
    let shipment = user
        .get(&format!("/api/delivery/order/{order_id}"))
        .await?
        .expect(200)?;
    let deliver = format!(
        "/api/delivery/{}/deliver",
        shipment["id"].as_str().context("no id")?
    );
    courier.post(&deliver, &json!({})).await?.expect(200)?;
    user.await_status(&order_id, "completed").await?;

    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "OrderCompleted") {
        let delivery = tokio::time::timeout(PATIENCE, ear.next())
            .await?
            .context("the ear fell off")??;
        delivery.ack(BasicAckOptions::default()).await?;
        let event: Value = serde_json::from_slice(&delivery.data)?;
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(delivery.properties.delivery_mode(), &Some(2), "not persistent");
        if event["data"]["order_id"] == order_id.as_str() {
            heard.push(event["type"].as_str().unwrap_or_default().to_owned());
        }
    }
    // Payment and stock are asked at the same time, and both must have answered before the order is handed over.
    let position = |name: &str| heard.iter().position(|event| event == name);
    assert!(position("StockReserved") < position("OrderPaid"), "{heard:?}");
    heard.retain(|event| event != "StockReserved");
    let expected = [
        "OrderCreated",
        "PaymentCompleted",
        "OrderPaid",
        "ShipmentCreated",
        "ShipmentDelivered",
        "OrderCompleted",
    ];
    assert_eq!(heard, expected);

    // The outboxes are drained but for the timers, and each consumer has noted each event once.
    eventually("the outboxes are drained", PATIENCE, async || {
        let open = "select count(*) from (
            select processed_at, due_at from ordering.outbox_messages
            union all select processed_at, due_at from payment.outbox_messages
            union all select processed_at, due_at from delivery.outbox_messages
            union all select processed_at, due_at from catalog.outbox_messages
        ) as message where processed_at is null and due_at <= now()";
        Ok((shop.count(open).await? == 0).then_some(()))
    })
    .await?;
    assert_eq!(shop.count("select count(*) from bridge.dead_letters").await?, 0);
    Ok(())
}
