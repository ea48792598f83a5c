//! The audit finds nothing wrong with a shop that works, and each of its checks finds what it is there for.

use crate::alone;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shop_tests::environment::variable;
use shop_tests::shop::connect;
use shop_tests::{Actor, Shop, eventually};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

/// A shop with an order in each state that one can come to rest in.
struct Orders {
    shipping: Uuid,
    completed: Uuid,
    declined: Uuid,
    refunded: Uuid,
}

async fn place(user: &Actor, rose: &str, method: &str, status: &str) -> Result<Uuid> {
    let order = user.order_once_known(rose, method).await?;
    user.await_status(&order, status).await?;
    Ok(order.parse()?)
}

async fn orders(shop: &Shop) -> Result<Orders> {
    let (user, admin, courier) = (
        shop.anonymous()?.register().await?,
        shop.anonymous()?.admin().await?,
        shop.anonymous()?.courier().await?,
    );
    let rose = admin.add_flower("Audited rose", "150.00").await?;
    let shipping = place(&user, &rose, "pm_card_visa", "shipping").await?;
    let completed = place(&user, &rose, "pm_card_visa", "shipping").await?;
    let shipment = user
        .get(&format!("/api/delivery/order/{completed}"))
        .await?
        .expect(200)?;
    let deliver = format!(
        "/api/delivery/{}/deliver",
        shipment["id"].as_str().context("no id")?
    );
    courier.post(&deliver, &json!({})).await?.expect(200)?;
    user.await_status(&completed.to_string(), "completed").await?;
    let declined = place(&user, &rose, "pm_card_chargeDeclined", "payment_failed").await?;
    // The last of a flower is bought twice: the second order is paid and given its money back.
    let last = json!({
        "name": "Last tulip", "price": {"amount": "10.00", "currency": "RUB"}, "stock_quantity": 1,
        "flower_type": "tulip",
    });
    let last = admin.post("/api/catalog/flowers", &last).await?.expect(201)?;
    let last = last["id"].as_str().context("no id")?;
    place(&user, last, "pm_card_visa", "shipping").await?;
    let refunded = place(&user, last, "pm_card_visa", "cancelled").await?;
    eventually("the money is back", PATIENCE, async || {
        let query = format!(
            "select count(*) from payment.payments where order_id = '{refunded}' and status in ('refunded', 'failed')"
        );
        Ok((shop.count(&query).await? == 1).then_some(()))
    })
    .await?;
    Ok(Orders {
        shipping,
        completed,
        declined,
        refunded,
    })
}

/// The checks, each with what it must find and nothing else need: SQL that brings it about.
fn wrongs(orders: &Orders) -> Vec<(&'static str, String)> {
    let Orders {
        shipping,
        completed,
        declined,
        refunded,
    } = orders;
    let long_ago = "interval '1 hour'";
    vec![
        (
            "stock_is_never_negative",
            "alter table catalog.flowers drop constraint flowers_stock;
             update catalog.flowers set stock_quantity = -1 where name = 'Audited rose'"
                .to_owned(),
        ),
        (
            "refunds_never_exceed_charges",
            "alter table payment_provider.charges drop constraint charges_refunded;
             update payment_provider.charges set refunded_minor = amount_minor + 1 where outcome = 'succeeded'"
                .to_owned(),
        ),
        (
            "histories_end_at_the_status",
            format!("delete from ordering.order_history where order_id = '{shipping}' and status = 'shipping'"),
        ),
        (
            "final_orders_stay_final",
            format!(
                "insert into ordering.order_history (order_id, version, position, status, at, cause, trace_id)
                 values ('{completed}', 1000, 0, 'cancelled', now(), 'Test', 'none');
                 update ordering.orders set status = 'cancelled' where id = '{completed}'"
            ),
        ),
        (
            "totals_are_those_of_the_lines",
            format!("update ordering.orders set total_minor = total_minor + 1 where id = '{shipping}'"),
        ),
        (
            "nobody_works_for_unknown_orders",
            format!(
                "insert into delivery.orders (id, user_id, delivery_address, created_at)
                 values (gen_random_uuid(), '{shipping}', 'nowhere', now())"
            ),
        ),
        (
            "payments_agree_with_the_provider",
            format!(
                "update payment_provider.charges set amount_minor = amount_minor - 1
                 where key like (select id || ':%' from payment.payments where order_id = '{shipping}')"
            ),
        ),
        (
            "payments_agree_with_the_provider",
            "insert into payment_provider.charges
                 (key, amount_minor, currency, method, outcome, transaction_id, created_at, settles_at)
             values ('nobody:1', 100, 'RUB', 'pm_card_visa', 'succeeded', 't-nobody', now() - interval '1 hour',
                 now() - interval '1 hour')"
                .to_owned(),
        ),
        (
            "payments_agree_with_the_provider",
            format!(
                "delete from payment_provider.charges
                 where key like (select id || ':%' from payment.payments where order_id = '{completed}')"
            ),
        ),
        (
            "money_matches_orders",
            format!(
                "update payment.payments set status = 'failed', transaction_id = null, failure_reason = 'card_declined'
                 where order_id = '{shipping}'"
            ),
        ),
        (
            "money_matches_orders",
            format!(
                "update payment.payments set status = 'completed', transaction_id = 't-again', failure_reason = null
                 where order_id = '{refunded}'"
            ),
        ),
        (
            "reservations_match_orders",
            format!("update catalog.reservations set status = 'reserved' where order_id = '{completed}'"),
        ),
        (
            "reservations_match_orders",
            format!("update catalog.reservations set status = 'released' where order_id = '{declined}'"),
        ),
        (
            "reservations_cover_the_lines",
            format!("update catalog.reservation_items set quantity = 7 where order_id = '{shipping}'"),
        ),
        (
            "paid_and_reserved_orders_are_handed_over",
            format!(
                "delete from delivery.shipments where order_id = '{shipping}';
                 delete from delivery.orders where id = '{shipping}'"
            ),
        ),
        (
            "shipments_match_orders",
            format!("update delivery.shipments set status = 'delivered' where order_id = '{shipping}'"),
        ),
        (
            "shipments_match_orders",
            format!("update delivery.shipments set status = 'cancelled' where order_id = '{completed}'"),
        ),
        (
            "every_order_is_final_or_waits_for_someone",
            format!("update ordering.orders set payment_due_at = now() - {long_ago} where id = '{declined}'"),
        ),
        (
            "every_order_is_final_or_waits_for_someone",
            format!(
                "update ordering.orders set status = 'payment_completed', stock_reserved = false
                 where id = '{shipping}'"
            ),
        ),
    ]
}

/// What an audit says of a copy of the shop's database in which something is made wrong. Nobody may be connected to the
/// original.
async fn audit_of_wrong(shop: &Shop, sql: &str) -> Result<(Vec<String>, Value)> {
    let admin = connect(&variable("SHOP_TEST_POSTGRES")?.parse()?).await?;
    let name = format!("a{}", Uuid::now_v7().simple());
    let create = format!("create database {name} template {}", shop.name);
    eventually(
        "nobody uses the shop's database",
        PATIENCE,
        async || match admin.batch_execute(&create).await {
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => Ok(None),
            created => Ok(Some(created?)),
        },
    )
    .await?;
    let mut url = shop.database_url().clone();
    url.set_path(&name);
    connect(&url)
        .await?
        .batch_execute(sql)
        .await
        .with_context(|| sql.to_owned())?;
    let audit = shop.audit(Some(&url)).await?;
    admin
        .batch_execute(&format!("drop database {name} with (force)"))
        .await?;
    Ok(audit)
}

fn found(answer: &Value, list: &str, name: &str) -> Vec<Value> {
    let lists = answer[list].as_array().into_iter().flatten();
    let named = lists.filter(|one| one["name"] == name);
    named
        .flat_map(|one| one["found"].as_array().cloned().unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn a_shop_that_works_is_clean_and_each_check_finds_what_it_is_there_for() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::start().await?;
    let orders = orders(&shop).await?;
    let clean = shop.expect_clean_audit().await?;
    shop.stop_relays().await?;
    shop.stop_host().await?;

    let wrongs = wrongs(&orders);
    for (check, sql) in &wrongs {
        let (violated, answer) = audit_of_wrong(&shop, sql).await?;
        ensure!(
            violated.iter().any(|name| name == check),
            "{check} did not find {sql}: {answer}"
        );
        for finding in found(&answer, "checks", check) {
            ensure!(
                finding["what"].as_str().is_some_and(|what| !what.is_empty()),
                "{finding}"
            );
        }
    }
    let tried: BTreeSet<&str> = wrongs.iter().map(|(check, _)| *check).collect();
    let checks = clean["checks"].as_array().context("no checks")?;
    let checks: BTreeSet<&str> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
    assert_eq!(tried, checks, "a check that nothing shows to find anything");
    Ok(())
}

#[tokio::test]
async fn what_waits_or_is_overdue_is_told_and_is_no_violation() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::start().await?;
    let Orders { shipping, .. } = orders(&shop).await?;
    shop.expect_clean_audit().await?;
    shop.stop_relays().await?;
    shop.stop_host().await?;
    let dead = format!(
        "update delivery.shipments set status = 'delivered' where order_id = '{shipping}';
         insert into bridge.dead_letters (queue, event_id, event_type, reason, payload, body, died_at)
         values ('ordering_delivery_events', 'e1', 'ShipmentDelivered', 'a bug',
             '{{\"data\": {{\"order_id\": \"{shipping}\"}}}}', '', now())"
    );
    let parked = format!(
        "update payment.outbox_messages set processed_at = null, parked_at = now(), last_error = 'NO_ROUTE'
         where aggregate_id in (select id from payment.payments where order_id = '{shipping}')"
    );
    for (report, sql) in [
        ("waits_for_an_operator", dead),
        ("waits_for_an_operator", parked),
        (
            "deliveries_overdue",
            format!(
                "update delivery.shipments set updated_at = now() - interval '4 days' where order_id = '{shipping}'"
            ),
        ),
        (
            "payments_overdue",
            format!(
                "update payment.payments set status = 'processing', transaction_id = null,
                     updated_at = now() - interval '1 day' where order_id = '{shipping}';
                 update ordering.orders set updated_at = now() where id = '{shipping}'"
            ),
        ),
    ] {
        let (violated, answer) = audit_of_wrong(&shop, &sql).await?;
        let order = found(&answer, "reports", report);
        ensure!(!order.is_empty(), "{report}: {answer}");
        if report != "payments_overdue" {
            ensure!(violated.is_empty(), "{report}: {answer}");
        }
    }
    Ok(())
}
