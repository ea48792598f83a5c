//! Two couriers with the same shipment.

use super::{Arena, RACES, event, id_of};
use crate::alone;
use anyhow::{Result, ensure};
use contracts::{Money, OrderId, OrderPaid, PaymentCompleted, PaymentId, StockReserved, UserId};
use futures::future::{try_join, try_join_all};
use rand::Rng as _;
use serde_json::{Value, json};
use shop_tests::{Actor, Answer};
use uuid::Uuid;

/// Shipments that are raced for at the same moment, each by two.
const GROUP: usize = 10;
const SHIPMENTS: &str = "delivery.shipments where id = any ($1)";

/// The courier of the demo, and another one.
async fn couriers(arena: &Arena) -> Result<[Actor; 2]> {
    let second = arena.anybody.register().await?;
    let email = second.email.unwrap_or_default();
    let hired = "update auth.users set role = 'courier' where email = $1";
    arena.database.execute(hired, &[&email]).await?;
    let second = arena.anybody.login(&email, "correct horse battery").await?;
    Ok([arena.anybody.courier().await?, second])
}

/// Orders that are on their way, as far as ordering knows.
async fn shipped_orders(arena: &Arena) -> Result<()> {
    let (user, flower) = arena.customer().await?;
    let mut facts = Vec::new();
    for order_id in arena.place(&user, &flower, "pm_card_visa", RACES).await? {
        let order_id: OrderId = order_id.to_string().parse()?;
        facts.push(event(StockReserved { order_id })?);
        facts.push(event(PaymentCompleted {
            order_id,
            payment_id: PaymentId::new(),
            attempt: 1,
            amount: Money::rub(15_000)?,
            transaction_id: "tx".to_owned(),
        })?);
    }
    arena.tell_all("ordering", &facts).await?;
    arena
        .tell_all("delivery", &arena.told("ordering", "OrderPaid").await?)
        .await?;
    arena
        .tell_all("ordering", &arena.told("delivery", "ShipmentCreated").await?)
        .await
}

async fn shipments(arena: &Arena) -> Result<Vec<Uuid>> {
    let query = "select id from delivery.shipments where status = 'shipped' order by id";
    let rows = arena.database.query(query, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn deliver(courier: &Actor, id: Uuid) -> Result<Answer> {
    courier
        .post(&format!("/api/delivery/{id}/deliver"), &json!({}))
        .await
}

async fn fail(courier: &Actor, id: Uuid) -> Result<Answer> {
    let body = json!({"reason": "nobody at home"});
    courier.post(&format!("/api/delivery/{id}/fail"), &body).await
}

#[tokio::test]
async fn two_couriers_who_deliver_the_same_shipment_at_the_same_moment_deliver_it_once() -> Result<()> {
    let _alone = alone().await;
    let arena = Arena::open().await?;
    let [one, other] = couriers(&arena).await?;
    shipped_orders(&arena).await?;
    let shipments = shipments(&arena).await?;
    assert_eq!(shipments.len(), RACES);
    let mut met = 0;
    for group in shipments.chunks(GROUP) {
        let pairs = group
            .iter()
            .map(|id| try_join(deliver(&one, *id), deliver(&other, *id)));
        let race = arena.meet(SHIPMENTS, group, 2 * GROUP, try_join_all(pairs));
        let (answers, waiting) = race.await?;
        met += waiting;
        for (first, second) in answers {
            // Delivering again changes nothing, and is answered as it was.
            assert_eq!(first.expect(200)?["status"], "delivered");
            assert_eq!(second.expect(200)?, first.json());
        }
    }
    eprintln!("{met} of {} couriers met", 2 * RACES);
    ensure!(
        10 * met >= 9 * 2 * RACES,
        "only {met} of {} couriers met",
        2 * RACES
    );
    // Whoever hears of it twice at the same moment notes it once.
    let delivered = arena.told("delivery", "ShipmentDelivered").await?;
    try_join(
        arena.tell_all("ordering", &delivered),
        arena.tell_all("ordering", &delivered),
    )
    .await?;
    arena
        .expect_none(&[
            (
                "a shipment that was not delivered once",
                "select shipments.id::text || ' ' || status || ' ' || coalesce(told, 0) from delivery.shipments
                left join (
                    select aggregate_id, count(*) as told from delivery.outbox_messages
                    where event_type = 'ShipmentDelivered' group by 1
                ) as words on aggregate_id = shipments.id
                where status <> 'delivered' or version <> 2 or told is distinct from 1",
            ),
            (
                "an order that was not completed once",
                "select orders.id::text || ' ' || status from ordering.orders
                where status <> 'completed'
                or (select array_agg(history.status order by version, position)
                    from ordering.order_history as history where order_id = orders.id)
                    <> array['created', 'payment_completed', 'shipping', 'completed']",
            ),
        ])
        .await?;
    arena.expect_no_deadlock().await
}

#[tokio::test]
async fn of_one_courier_who_delivers_and_one_who_brings_back_one_is_refused() -> Result<()> {
    let _alone = alone().await;
    let arena = Arena::open().await?;
    let [one, other] = couriers(&arena).await?;
    let paid = |_| {
        event(OrderPaid {
            order_id: OrderId::new(),
            user_id: UserId::new(),
            delivery_address: "1 Rose Street".to_owned(),
        })
    };
    let paid = (0..RACES).map(paid).collect::<Result<Vec<Value>>>()?;
    arena.tell_all("delivery", &paid).await?;
    let shipments = shipments(&arena).await?;
    let mut met = 0;
    let mut said = Vec::new();
    for group in shipments.chunks(GROUP) {
        let pair = async |id: &Uuid| {
            // Who waits first is served first.
            if rand::rng().random_bool(0.5) {
                try_join(deliver(&one, *id), fail(&other, *id)).await
            } else {
                let (failed, delivered) = try_join(fail(&other, *id), deliver(&one, *id)).await?;
                Ok((delivered, failed))
            }
        };
        let pairs = try_join_all(group.iter().map(pair));
        let (answers, waiting) = arena.meet(SHIPMENTS, group, 2 * GROUP, pairs).await?;
        met += waiting;
        for (delivered, failed) in answers {
            let (done, refused) = if delivered.status == 200 {
                (delivered, failed)
            } else {
                (failed, delivered)
            };
            refused.expect_problem(409, "shipment-ended")?;
            let shipment = done.expect(200)?;
            let status = shipment["status"].as_str().unwrap_or_default();
            said.push((id_of(&shipment)?, status.to_owned()));
        }
    }
    let delivered = said.iter().filter(|(_, status)| status == "delivered").count();
    eprintln!("{met} of {} couriers met; {delivered} delivered", 2 * RACES);
    ensure!(
        10 * met >= 9 * 2 * RACES,
        "only {met} of {} couriers met",
        2 * RACES
    );
    ensure!((50..RACES - 50).contains(&delivered), "one side always wins");
    arena.note(said).await?;
    arena
        .expect_none(&[(
            "a shipment that came to another end than a courier was told, or to two",
            "select race.id::text || ' ' || said || ' ' || coalesce(status, '') from race
            full join delivery.shipments on shipments.id = race.id
            where status is distinct from said or version <> 2
            or (select array_agg(event_type order by outbox.id) from delivery.outbox_messages as outbox
                where aggregate_id = race.id) is distinct from array['ShipmentCreated',
                    case said when 'delivered' then 'ShipmentDelivered' else 'ShipmentFailed' end]",
        )])
        .await?;
    arena.expect_no_deadlock().await
}
