//! Events handed over twice, in the worst order, many at once, or by somebody who may not.

use crate::{alone, place_order, tell};
use anyhow::Result;
use contracts::{
    DeadLetterResolved, Event, EventDeadLettered, EventId, Money, OrderCancelled, OrderCreated, OrderId,
    OrderLine, OrderPaid, PaymentCompleted, PaymentFailed, PaymentId, PaymentMethod, ShipmentCreated,
    ShipmentDelivered, ShipmentFailed, ShipmentId, StockReserved, UserId,
};
use serde_json::{Value, json};
use shop_tests::Shop;
use shop_tests::events::{cloud_event, hand_over, unix_now};
use tokio::task::JoinSet;

/// A shop without relays: only what a test tells happens.
async fn quiet_shop() -> Result<Shop> {
    let mut shop = Shop::prepare().await?;
    shop.start_host().await?;
    Ok(shop)
}

fn event(event: impl Into<Event>) -> Result<Value> {
    cloud_event(EventId::new(), &event.into())
}

fn paid(order_id: OrderId) -> Result<PaymentCompleted> {
    let payment_id = PaymentId::new();
    let amount = Money::rub(15_000)?;
    Ok(PaymentCompleted {
        order_id,
        payment_id,
        attempt: 1,
        amount,
        transaction_id: "tx".to_owned(),
    })
}

fn shipped(order_id: OrderId) -> ShipmentCreated {
    ShipmentCreated {
        order_id,
        shipment_id: ShipmentId::new(),
        tracking_number: "FS1".to_owned(),
    }
}

fn delivered(order_id: OrderId) -> ShipmentDelivered {
    ShipmentDelivered {
        order_id,
        shipment_id: ShipmentId::new(),
    }
}

async fn outgoing(shop: &Shop, service: &str, event_type: &str) -> Result<i64> {
    shop.count(&format!(
        "select count(*) from {service}.outbox_messages where event_type = '{event_type}'"
    ))
    .await
}

#[tokio::test]
async fn every_event_told_twice_has_its_effect_once() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (user, order_id) = place_order(&shop).await?;
    let story = [
        event(StockReserved { order_id })?,
        event(paid(order_id)?)?,
        event(shipped(order_id))?,
        event(delivered(order_id))?,
    ];
    for told in &story {
        // Twice in one batch: the first of the two speaks for both.
        assert_eq!(
            tell(&shop, "ordering", &[told.clone(), told.clone()]).await?,
            ["processed", "processed"]
        );
        assert_eq!(
            tell(&shop, "ordering", std::slice::from_ref(told)).await?,
            ["duplicate"]
        );
    }
    assert_eq!(tell(&shop, "ordering", &story).await?, ["duplicate"; 4]);
    user.await_status(&order_id.to_string(), "completed").await?;
    assert_eq!(outgoing(&shop, "ordering", "OrderPaid").await?, 1);
    assert_eq!(outgoing(&shop, "ordering", "OrderCompleted").await?, 1);
    assert_eq!(
        shop.count("select count(*) from ordering.order_history").await?,
        4
    );
    Ok(())
}

#[tokio::test]
async fn events_in_the_worst_order_wait_and_end_the_same() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (user, order_id) = place_order(&shop).await?;
    let (paid, shipped, delivered) = (
        event(paid(order_id)?)?,
        event(shipped(order_id))?,
        event(delivered(order_id))?,
    );
    let reserved = event(StockReserved { order_id })?;
    let backwards = [delivered.clone(), shipped.clone()];
    assert_eq!(tell(&shop, "ordering", &backwards).await?, ["retry", "retry"]);
    assert_eq!(
        shop.count("select count(*) from ordering.inbox").await?,
        1,
        "only the flower's event is noted"
    );
    assert_eq!(
        tell(&shop, "ordering", &[delivered, shipped, paid, reserved]).await?,
        ["retry", "retry", "processed", "processed"]
    );
    assert_eq!(
        tell(&shop, "ordering", &backwards).await?,
        ["processed", "processed"]
    );
    user.await_status(&order_id.to_string(), "completed").await?;
    let history = user
        .get(&format!("/api/orders/{order_id}/history"))
        .await?
        .expect(200)?;
    let statuses: Vec<&str> = history["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["status"].as_str())
        .collect();
    assert_eq!(
        statuses,
        ["created", "payment_completed", "shipping", "completed"]
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_delivery_told_too_early_waits_and_takes_the_shipment_along() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (user, order_id) = place_order(&shop).await?;
    let failed = event(ShipmentFailed {
        order_id,
        shipment_id: ShipmentId::new(),
        reason: "nobody at home".to_owned(),
    })?;
    assert_eq!(
        tell(&shop, "ordering", std::slice::from_ref(&failed)).await?,
        ["retry"]
    );
    let batch = [
        event(StockReserved { order_id })?,
        event(paid(order_id)?)?,
        failed,
    ];
    assert_eq!(tell(&shop, "ordering", &batch).await?, ["processed"; 3]);
    let order = user.await_status(&order_id.to_string(), "cancelled").await?;
    assert_eq!(order["status_reason"], "delivery_failed");
    assert_eq!(
        tell(&shop, "ordering", &[event(shipped(order_id))?]).await?,
        ["processed"]
    );
    assert_eq!(outgoing(&shop, "ordering", "OrderCancelled").await?, 1);
    // Created, paid, and in one step shipped and cancelled.
    assert_eq!(
        shop.count("select count(*) from ordering.order_history").await?,
        4
    );
    Ok(())
}

#[tokio::test]
async fn dead_letters_are_among_the_notes_of_the_order_that_they_are_about() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (user, order_id) = place_order(&shop).await?;
    let queue = "delivery_order_events".to_owned();
    let dead = |event_type: Option<&str>, order_id| {
        event(EventDeadLettered {
            order_id,
            event_type: event_type.map(str::to_owned),
            queue: queue.clone(),
        })
    };
    let resolved = |resolution: &str| {
        event(DeadLetterResolved {
            order_id,
            event_type: Some("OrderPaid".to_owned()),
            queue: queue.clone(),
            resolution: resolution.to_owned(),
        })
    };
    let batch = [
        dead(Some("OrderPaid"), order_id)?,
        resolved("retried")?,
        dead(None, order_id)?,
        resolved("discarded")?,
        // Of no order: nothing to note, and nothing that could die of it.
        dead(Some("OrderPaid"), OrderId::new())?,
    ];
    assert_eq!(tell(&shop, "ordering", &batch).await?, ["processed"; 5]);
    assert_eq!(tell(&shop, "ordering", &batch[..4]).await?, ["duplicate"; 4]);
    let history = user
        .get(&format!("/api/orders/{order_id}/history"))
        .await?
        .expect(200)?;
    let notes: Vec<_> = history["notes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|note| (note["note"].as_str(), note["cause"].as_str()))
        .collect();
    assert_eq!(
        notes,
        [
            (Some("dead_letter"), Some("OrderPaid")),
            (Some("dead_letter_retried"), Some("OrderPaid")),
            (Some("dead_letter"), Some("delivery_order_events")),
            (Some("dead_letter_discarded"), Some("OrderPaid")),
        ]
    );
    let order = user.get(&format!("/api/orders/{order_id}")).await?.expect(200)?;
    assert_eq!(order["status"], "created");
    Ok(())
}

#[tokio::test]
async fn twenty_payments_completed_at_the_same_time_pay_the_order_once() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let shop = std::sync::Arc::new(shop);
    let (user, order_id) = place_order(&shop).await?;
    tell(&shop, "ordering", &[event(StockReserved { order_id })?]).await?;
    let mut racing = JoinSet::new();
    let same = event(paid(order_id)?)?;
    for number in 0..20 {
        let told = if number % 2 == 0 {
            same.clone()
        } else {
            event(paid(order_id)?)?
        };
        let shop = std::sync::Arc::clone(&shop);
        racing.spawn(async move {
            loop {
                let outcome = tell(&shop, "ordering", std::slice::from_ref(&told))
                    .await?
                    .remove(0);
                if outcome != "retry" {
                    return anyhow::Ok(outcome);
                }
            }
        });
    }
    let outcomes = racing.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    assert!(
        outcomes
            .iter()
            .all(|outcome| ["processed", "duplicate"].contains(&outcome.as_str())),
        "{outcomes:?}"
    );
    assert_eq!(outgoing(&shop, "ordering", "OrderPaid").await?, 1);
    // Ten of their own and the one told ten times, beside the flower's and the stock's: no inbox row without its version.
    assert_eq!(shop.count("select count(*) from ordering.inbox").await?, 13);
    assert_eq!(shop.count("select max(version) from ordering.orders").await?, 13);
    user.await_status(&order_id.to_string(), "payment_completed")
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_declined_payment_and_a_late_success_end_paid() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (user, order_id) = place_order(&shop).await?;
    let declined = |attempt| PaymentFailed {
        order_id,
        payment_id: PaymentId::new(),
        attempt,
        reason: "card_declined".to_owned(),
    };
    tell(&shop, "ordering", &[event(declined(1))?]).await?;
    user.await_status(&order_id.to_string(), "payment_failed").await?;
    let second = PaymentCompleted {
        attempt: 2,
        ..paid(order_id)?
    };
    assert_eq!(
        tell(&shop, "ordering", &[event(second)?, event(declined(1))?]).await?,
        ["processed"; 2]
    );
    user.await_status(&order_id.to_string(), "payment_completed")
        .await?;
    Ok(())
}

#[tokio::test]
async fn an_order_created_twice_is_charged_once_and_a_paid_one_shipped_once() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (order_id, user_id) = (OrderId::new(), UserId::new());
    let created = |payment_method| OrderCreated {
        order_id,
        user_id,
        total: Money::ZERO,
        payment_method,
        payment_due_at: None,
        items: Vec::<OrderLine>::new(),
    };
    let created = event(OrderCreated {
        total: Money::rub(15_000)?,
        ..created(PaymentMethod::Visa)
    })?;
    assert_eq!(
        tell(&shop, "payment", &[created.clone(), created.clone()]).await?,
        ["processed"; 2]
    );
    assert_eq!(tell(&shop, "payment", &[created]).await?, ["duplicate"]);
    assert_eq!(outgoing(&shop, "payment", "PaymentCompleted").await?, 1);
    assert_eq!(
        shop.count("select count(*) from payment_provider.charges")
            .await?,
        1
    );

    let paid = event(OrderPaid {
        order_id,
        user_id,
        delivery_address: "1 Rose Street".to_owned(),
    })?;
    assert_eq!(
        tell(&shop, "delivery", &[paid.clone(), paid.clone()]).await?,
        ["processed"; 2]
    );
    assert_eq!(tell(&shop, "delivery", &[paid]).await?, ["duplicate"]);
    assert_eq!(outgoing(&shop, "delivery", "ShipmentCreated").await?, 1);
    assert_eq!(shop.count("select count(*) from delivery.shipments").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_order_is_not_charged_later() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let user = shop.anonymous()?.register().await?;
    let user_id: UserId = user.id.as_deref().unwrap_or_default().parse()?;
    let order = |payment_method| {
        let order_id = OrderId::new();
        let created = event(OrderCreated {
            order_id,
            user_id,
            total: Money::rub(15_000)?,
            payment_method,
            payment_due_at: None,
            items: Vec::new(),
        })?;
        let cancelled = event(OrderCancelled {
            order_id,
            reason: "cancelled_by_user".to_owned(),
        })?;
        anyhow::Ok((order_id, created, cancelled))
    };
    let tell = async |told: &Value| tell(&shop, "payment", std::slice::from_ref(told)).await;

    // Payment hears of the order after its cancellation.
    let (early, created, cancelled) = order(PaymentMethod::Visa)?;
    for told in [&cancelled, &created] {
        assert_eq!(tell(told).await?, ["processed"]);
    }
    // The card was declined, and somebody tries another.
    let (declined, created, cancelled) = order(PaymentMethod::ChargeDeclined)?;
    for told in [&created, &cancelled] {
        assert_eq!(tell(told).await?, ["processed"]);
    }
    // An attempt was stored, and never came to the provider, whose ledger was away.
    let database = shop.database_of("payment_provider").await?;
    let ledger = "alter table payment_provider.charges";
    database
        .batch_execute(&format!("{ledger} rename to away"))
        .await?;
    let (stored, created, cancelled) = order(PaymentMethod::Visa)?;
    for told in [&created, &cancelled] {
        assert_eq!(tell(told).await?, ["retry"]);
    }
    let back = format!("{} rename to charges", ledger.replace("charges", "away"));
    database.batch_execute(&back).await?;
    for told in [&created, &cancelled] {
        assert_eq!(tell(told).await?, ["processed"]);
    }

    for order_id in [early, declined, stored] {
        let pay = json!({"order_id": order_id, "payment_method": "pm_card_visa"});
        let answer = user.post("/api/payments/process", &pay).await?;
        answer.expect_problem(409, "order-cancelled")?;
    }
    let taken = "select count(*) from payment_provider.charges where outcome = 'succeeded'";
    assert_eq!(shop.count(taken).await?, 0);
    let standing = "select count(*) from payment.payments where status <> 'failed'";
    assert_eq!(shop.count(standing).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_provider_that_gives_no_answer_is_asked_again_and_charges_once() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let order = OrderCreated {
        order_id: OrderId::new(),
        user_id: UserId::new(),
        total: Money::rub(15_000)?,
        payment_method: PaymentMethod::Flaky,
        payment_due_at: None,
        items: Vec::new(),
    };
    let created = event(order)?;
    assert_eq!(
        tell(&shop, "payment", std::slice::from_ref(&created)).await?,
        ["retry"]
    );
    assert_eq!(shop.count("select count(*) from payment.inbox").await?, 0);
    assert_eq!(tell(&shop, "payment", &[created]).await?, ["processed"]);
    assert_eq!(
        shop.count("select count(*) from payment_provider.charges")
            .await?,
        1
    );
    assert_eq!(outgoing(&shop, "payment", "PaymentCompleted").await?, 1);
    Ok(())
}

#[tokio::test]
async fn what_a_service_cannot_take_is_rejected_and_what_it_does_not_know_yet_waits() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (_, order_id) = place_order(&shop).await?;
    let foreign = event(OrderPaid {
        order_id,
        user_id: UserId::new(),
        delivery_address: "x".to_owned(),
    })?;
    let nobody = event(paid(OrderId::new())?)?;
    let mut unknown = event(paid(order_id)?)?;
    unknown["type"] = json!("OrderEaten");
    let mut broken = event(paid(order_id)?)?;
    broken["data"] = json!({"order_id": 1});
    let mut newer = event(paid(order_id)?)?;
    newer["data"]["schema_version"] = json!(99);
    let mut old_newer = newer.clone();
    old_newer["id"] = json!(EventId::new());
    old_newer["time"] = json!("2020-01-01T00:00:00Z");
    let mut tolerant = event(paid(order_id)?)?;
    tolerant["data"]["colour"] = json!("red");
    let batch = [foreign, nobody, unknown, broken, newer, old_newer, tolerant];
    let outcomes = tell(&shop, "ordering", &batch).await?;
    assert_eq!(
        outcomes,
        [
            "rejected",
            "rejected",
            "rejected",
            "rejected",
            "retry",
            "rejected",
            "processed"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn an_unsigned_stale_or_tampered_batch_is_401_and_touches_nothing() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (_, order_id) = place_order(&shop).await?;
    let before = shop.count("select count(*) from ordering.inbox").await?;
    let batch = [event(paid(order_id)?)?];
    let (anybody, key) = (shop.anonymous_at("ordering")?, shop.events_key()?);
    for at in [unix_now() - 301, unix_now() + 301] {
        hand_over(&anybody, &key, "ordering", &batch, at)
            .await?
            .expect_problem(401, "unauthorized")?;
    }
    let other = event_batch::SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
    hand_over(&anybody, &other, "ordering", &batch, unix_now())
        .await?
        .expect_problem(401, "unauthorized")?;

    let at = unix_now();
    let signature = key.sign("msg_1", at, b"[]");
    let request = anybody.request(reqwest::Method::POST, "/internal/ordering/events");
    let request = request
        .header("content-type", event_batch::BATCH_CONTENT_TYPE)
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", at.to_string())
        .header("webhook-signature", signature)
        .json(&batch);
    anybody.send(request).await?.expect_problem(401, "unauthorized")?;
    assert_eq!(shop.count("select count(*) from ordering.inbox").await?, before);
    assert_eq!(outgoing(&shop, "ordering", "OrderPaid").await?, 0);
    Ok(())
}

#[tokio::test]
async fn an_inbox_row_is_not_written_when_the_version_check_failed() -> Result<()> {
    let _alone = alone().await;
    let shop = quiet_shop().await?;
    let (_, order_id) = place_order(&shop).await?;
    let statement = std::fs::read_to_string(
        shop_tests::environment::root().join("components/ordering/src/infrastructure/sql/store_changes.sql"),
    )?;
    let change = json!([{
        "order_id": order_id, "version": 1, "status": "payment_completed", "payment_attempt": 1,
        "stock_reserved": false, "at": "2026-01-01T00:00:00Z",
    }]);
    let mut first = shop.database_of("ordering").await?;
    let (second, onlooker) = (
        shop.database_of("ordering").await?,
        shop.database_of("ordering").await?,
    );
    for client in [&first, &second] {
        client.batch_execute("set search_path = ordering").await?;
    }
    let handled = |event_id: EventId| json!([{"order_id": order_id, "event_id": event_id}]);
    let none = json!([]);
    // The first holds the order's lock while the second reaches its gate.
    let transaction = first.transaction().await?;
    let stored = transaction
        .query(
            &statement,
            &[&change, &handled(EventId::new()), &none, &none, &none],
        )
        .await?;
    assert_eq!(stored.len(), 1);
    let late = handled(EventId::new());
    let waiting = tokio::spawn({
        let (statement, change, none) = (statement.clone(), change.clone(), none.clone());
        async move {
            second
                .query(&statement, &[&change, &late, &none, &none, &none])
                .await
        }
    });
    shop_tests::eventually(
        "the second waits for the lock",
        std::time::Duration::from_secs(10),
        async || {
            let waiting = "select count(*) from pg_stat_activity where datname = current_database()
            and wait_event_type = 'Lock'";
            let waiting: i64 = onlooker.query_one(waiting, &[]).await?.try_get(0)?;
            Ok((waiting == 1).then_some(()))
        },
    )
    .await?;
    transaction.commit().await?;
    assert_eq!(waiting.await??.len(), 0, "the version had moved on");
    assert_eq!(
        shop.count("select count(*) from ordering.inbox").await?,
        2,
        "the flower's and the first's"
    );
    Ok(())
}
