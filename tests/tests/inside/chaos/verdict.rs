//! Holds databases and broker against what clients were told.

use super::ledger::{Known, Ledger};
use super::storm::STOCK;
use anyhow::{Context, Result, ensure};
use shop_tests::Shop;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long a shop may take to become quiet after a storm.
const QUIET: Duration = Duration::from_secs(240);

/// What must give no rows once the shop is quiet: each names what is wrong and with what.
const CHECKS: [(&str, &str); 9] = [
    (
        "an order that waits for nobody",
        "select id::text from ordering.orders where status in ('created', 'payment_completed')",
    ),
    (
        "an order whose history ends otherwise, or has gaps",
        "select id::text from ordering.orders
        where status <> (select status from ordering.order_history where order_id = orders.id
            order by version desc, position desc limit 1)
        or (select count(*) <> count(distinct status) from ordering.order_history where order_id = orders.id)",
    ),
    (
        "money that was kept for nothing, or is missing",
        "select orders.id::text || ' ' || orders.status || ': ' || coalesce(kept, 0) || ' of ' || total_minor
        from ordering.orders
        left join (
            select payments.order_id,
                sum(case when outcome = 'succeeded' then charges.amount_minor else 0 end - refunded_minor) as kept
            from payment_provider.charges
            join payment.payments on payments.id = split_part(charges.key, ':', 1)::uuid
            group by payments.order_id
        ) as money on money.order_id = orders.id
        where coalesce(kept, 0)
            <> case when status in ('payment_completed', 'shipping', 'completed') then total_minor else 0 end",
    ),
    (
        "a payment that says something else than the provider",
        "select payments.id::text || ' ' || status from payment.payments
        left join payment_provider.charges on payments.id = split_part(charges.key, ':', 1)::uuid
        where status <> case
            when charges.key is null then 'failed'
            when outcome = 'declined' then 'failed'
            when refunded_minor > 0 then 'refunded'
            else 'completed' end",
    ),
    (
        "a reservation that does not fit its order",
        "select orders.id::text || ' ' || orders.status || ' ' || coalesce(reservations.status, 'none')
        from ordering.orders
        left join catalog.reservations on reservations.order_id = orders.id
        where case orders.status
            when 'completed' then reservations.status is distinct from 'sold'
            when 'cancelled' then coalesce(reservations.status, '') not in ('released', 'rejected', 'withdrawn')
            else reservations.status is distinct from 'reserved' end",
    ),
    (
        "a shipment that does not fit its order",
        "select orders.id::text || ' ' || orders.status || ' ' || coalesce(shipments.status, 'none')
        from ordering.orders
        left join delivery.shipments on shipments.order_id = orders.id
        where coalesce(shipments.status, 'none') <> case
            when orders.status = 'completed' then 'delivered'
            when orders.status = 'shipping' then 'shipped'
            when status_reason = 'delivery_failed' then 'failed'
            else 'none' end",
    ),
    (
        "an event that was not published",
        "select 'ordering ' || event_type from ordering.outbox_messages where processed_at is null and due_at < now()
        union all select 'catalog ' || event_type from catalog.outbox_messages where processed_at is null
        union all select 'payment ' || event_type from payment.outbox_messages
            where processed_at is null and due_at < now()
        union all select 'delivery ' || event_type from delivery.outbox_messages where processed_at is null",
    ),
    (
        "a dead letter",
        "select queue || ' ' || coalesce(event_type, '') || ': ' || reason from bridge.dead_letters
        where resolved_at is null",
    ),
    (
        "a charge that started after its order's deadline",
        "select orders.id::text from ordering.orders
        join payment.payments on payments.order_id = orders.id
        join payment_provider.charges on payments.id = split_part(charges.key, ':', 1)::uuid
        where outcome = 'succeeded' and charges.created_at > orders.payment_due_at",
    ),
];

/// What a run came to.
pub(crate) struct Report {
    orders: i64,
    statuses: BTreeMap<String, i64>,
    requests: u64,
    repeated: u64,
    unknown: i64,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            orders,
            statuses,
            requests,
            repeated,
            unknown,
        } = self;
        write!(
            formatter,
            "{orders} orders acknowledged and {unknown} unknown in {requests} requests, {repeated} of them repeated: \
             {statuses:?}"
        )
    }
}

/// Waits until the shop is quiet, and compares.
///
/// # Errors
/// If it does not become quiet, or does not agree with what clients were told.
pub(super) async fn judge(shop: &Shop, ledger: &Ledger, flowers: &[String]) -> Result<Report> {
    let client = shop.database().await?;
    let end = Instant::now() + QUIET;
    loop {
        let wrong = wrong(&client).await?;
        if wrong.is_empty() {
            break;
        }
        ensure!(Instant::now() < end, "not quiet within {QUIET:?}: {wrong:#?}");
        sleep(Duration::from_millis(500)).await;
    }
    let orders = ledger.orders().clone();
    let tally = *ledger.tally();
    let mut statuses = BTreeMap::new();
    for (id, known) in &orders {
        let status = agree(&client, id, known)
            .await
            .with_context(|| format!("order {id}"))?;
        *statuses.entry(status).or_default() += 1;
    }
    agree_on_stock(&client, flowers).await?;
    let placed = "select count(*) from ordering.orders where delivery_address = '1 Storm Street'";
    let placed: i64 = client.query_one(placed, &[]).await?.try_get(0)?;
    let acknowledged = orders.values().filter(|known| known.placed.is_some()).count();
    let acknowledged = i64::try_from(acknowledged)?;
    ensure!(
        (acknowledged..=acknowledged + tally.unknown_orders).contains(&placed),
        "{placed} orders are there; {acknowledged} were acknowledged, {} are unknown",
        tally.unknown_orders
    );
    ensure!(acknowledged > 20, "only {acknowledged} orders were placed");
    Ok(Report {
        orders: acknowledged,
        statuses,
        requests: tally.requests,
        repeated: tally.repeated,
        unknown: tally.unknown_orders,
    })
}

async fn wrong(client: &tokio_postgres::Client) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (what, query) in CHECKS {
        for row in client.query(query, &[]).await.with_context(|| what.to_owned())? {
            let which: String = row.try_get(0)?;
            wrong.push(format!("{what}: {which}"));
        }
    }
    Ok(wrong)
}

/// Compares one order with what its client was told; gives its status.
async fn agree(client: &tokio_postgres::Client, id: &str, known: &Known) -> Result<String> {
    let query = "select status, coalesce(status_reason, ''), total_minor, items.quantity::bigint, items.flower_id::text
        from ordering.orders join ordering.order_items as items on items.order_id = orders.id
        where orders.id = $1";
    let id: Uuid = id.parse()?;
    let row = client.query_opt(query, &[&id]).await?.context("is lost")?;
    let (status, reason): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let total: i64 = row.try_get(2)?;
    let (quantity, flower): (i64, String) = (row.try_get(3)?, row.try_get(4)?);
    ensure!(total == 15_000 * quantity, "costs {total} for {quantity}");
    if let Some(placed) = &known.placed {
        ensure!(
            (quantity, &flower) == (placed.quantity, &placed.flower_id),
            "holds {quantity} of {flower} instead of {placed:?}"
        );
        let told = placed.total.replace('.', "").parse::<i64>()?;
        ensure!(total == told, "costs {total}, {placed:?}");
    }
    let is_cancelled_by_user = status == "cancelled" && reason == "cancelled_by_user";
    match known.cancelled {
        Some(true) => ensure!(status == "cancelled", "was cancelled, and is {status}"),
        Some(false) => ensure!(!is_cancelled_by_user, "was not cancelled, and is {status}"),
        None => {}
    }
    match known.delivered {
        Some(true) => ensure!(status == "completed", "was delivered, and is {status}"),
        Some(false) => ensure!(
            status == "cancelled" && reason == "delivery_failed",
            "could not be delivered, and is {status} {reason}"
        ),
        None => {}
    }
    Ok(format!("{status} {reason}").trim_end().to_owned())
}

async fn agree_on_stock(client: &tokio_postgres::Client, flowers: &[String]) -> Result<()> {
    for (flower, at_the_start) in flowers.iter().zip(STOCK) {
        let id: Uuid = flower.parse()?;
        let stock = "select stock_quantity::bigint from catalog.flowers where id = $1";
        let stock: i64 = client.query_one(stock, &[&id]).await?.try_get(0)?;
        let sold = "select coalesce(sum(quantity), 0)::bigint
            from ordering.order_items join ordering.orders on orders.id = order_items.order_id
            where flower_id = $1 and status <> 'cancelled'";
        let sold: i64 = client.query_one(sold, &[&id]).await?.try_get(0)?;
        ensure!(stock >= 0, "{stock} in stock");
        ensure!(
            stock + sold == at_the_start,
            "{stock} in stock and {sold} sold or reserved of {at_the_start}"
        );
    }
    Ok(())
}
