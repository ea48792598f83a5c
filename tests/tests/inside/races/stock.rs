//! Who gets the last flower, and cancellations that meet their reservation.

use super::{AT_ONCE, Arena, BATCH, RACES, event};
use crate::alone;
use anyhow::{Context, Result, ensure};
use contracts::{FlowerId, Money, OrderCancelled, OrderCreated, OrderId, OrderLine, PaymentMethod, UserId};
use futures::future::{try_join, try_join_all};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use shop_tests::Actor;
use uuid::Uuid;

const BUYERS: usize = 50;
/// Flowers whose orders are mixed with each other's.
const SHELF: usize = 100;
/// Cancellations that come while a reservation waits for its flower.
const HELD_BACK: usize = RACES / 4;

async fn flower(admin: &Actor, stock: usize) -> Result<FlowerId> {
    let body = json!({
        "name": "Rose of a race", "price": {"amount": "1.00", "currency": "RUB"}, "stock_quantity": stock,
        "flower_type": "rose",
    });
    let flower = admin.post("/api/catalog/flowers", &body).await?.expect(201)?;
    Ok(flower["id"].as_str().context("no id")?.parse()?)
}

async fn flowers(arena: &Arena, count: usize, stock: usize) -> Result<Vec<FlowerId>> {
    let admin = arena.anybody.admin().await?;
    let flowers = stream::iter(0..count).map(|_| flower(&admin, stock));
    flowers.buffer_unordered(AT_ONCE).try_collect().await
}

fn created(order_id: OrderId, flower_id: FlowerId) -> Result<Value> {
    event(OrderCreated {
        order_id,
        user_id: UserId::new(),
        total: Money::rub(100)?,
        payment_method: PaymentMethod::Visa,
        payment_due_at: None,
        items: vec![OrderLine {
            flower_id: Some(flower_id),
            bouquet_id: None,
            quantity: 1,
            price: Money::rub(100)?,
        }],
    })
}

/// The orders of every buyer of these flowers, mixed up and cut into batches. Half of the batches name their flowers in
/// the one order and half in the other, in which sessions that took them as they come would wait for each other.
fn crowds(flowers: &[FlowerId], random: &mut StdRng) -> Vec<Vec<(FlowerId, OrderId)>> {
    let mut batches = Vec::new();
    for shelf in flowers.chunks(SHELF) {
        let all = shelf
            .iter()
            .flat_map(|flower| std::iter::repeat_n(*flower, BUYERS));
        let mut orders: Vec<(FlowerId, OrderId)> = all.map(|flower| (flower, OrderId::new())).collect();
        orders.shuffle(random);
        for (number, batch) in orders.chunks(BATCH).enumerate() {
            let mut batch = batch.to_vec();
            batch.sort_unstable();
            if number % 2 == 0 {
                batch.reverse();
            }
            batches.push(batch);
        }
    }
    batches
}

#[tokio::test]
async fn the_last_of_a_thousand_flowers_goes_to_one_of_fifty_buyers_each_time() -> Result<()> {
    let _alone = alone().await;
    let arena = Arena::open().await?;
    let flowers = flowers(&arena, RACES, 1).await?;
    let batches = crowds(&flowers, &mut StdRng::from_os_rng());
    let orders = batches.iter().flatten();
    let orders = orders.map(|(flower_id, order_id)| (order_id.as_uuid(), flower_id.to_string()));
    arena.note(orders).await?;

    let buy = async |batch: Vec<(FlowerId, OrderId)>| {
        let events = batch.into_iter().map(|(flower, order)| created(order, flower));
        arena.tell("catalog", &events.collect::<Result<Vec<_>>>()?).await
    };
    let buying = stream::iter(batches).map(buy).buffer_unordered(BUYERS);
    let ((), crowd) = arena.watch(buying.try_collect()).await?;

    eprintln!("up to {crowd} sessions waited for the same flowers");
    ensure!(crowd >= 5, "only {crowd} sessions met");
    arena
        .expect_none(&[
            (
                "a flower that not exactly one of fifty got",
                "select said || ': ' || string_agg(coalesce(status, 'nobody'), ' ')
                from race left join catalog.reservations on order_id = race.id
                group by said
                having count(*) filter (where status = 'reserved') <> 1
                or count(*) filter (where status = 'rejected') <> 49",
            ),
            (
                "a flower that is still there",
                "select id::text from catalog.flowers where id::text in (select said from race) and stock_quantity <> 0",
            ),
            (
                "an order that has what it was not given, or has not what it was",
                "select race.id::text from race
                join catalog.reservations on reservations.order_id = race.id
                left join catalog.reservation_items as item on item.order_id = race.id
                where case status when 'reserved' then item.flower_id::text is distinct from said or quantity <> 1
                    else item.flower_id is not null end",
            ),
            (
                "a buyer who was told something else, or twice",
                "select race.id::text from race
                join catalog.reservations on reservations.order_id = race.id
                left join (
                    select aggregate_id, array_agg(event_type) as told from catalog.outbox_messages group by 1
                ) as answer on aggregate_id = race.id
                where told is distinct from
                    array[case status when 'reserved' then 'StockReserved' else 'StockRejected' end]",
            ),
        ])
        .await?;
    arena.expect_no_deadlock().await
}

#[tokio::test]
async fn a_cancellation_and_its_reservation_at_the_same_moment_leave_the_stock_as_it_was() -> Result<()> {
    let _alone = alone().await;
    let arena = Arena::open().await?;
    let flowers = flowers(&arena, 10, RACES).await?;
    let pair = |number: usize| {
        let order_id = OrderId::new();
        let cancelled = event(OrderCancelled {
            order_id,
            reason: "cancelled_by_user".to_owned(),
        });
        anyhow::Ok((order_id, created(order_id, flowers[number % 10])?, cancelled?))
    };
    let pairs = (0..RACES).map(pair).collect::<Result<Vec<_>>>()?;
    let (held_back, free) = pairs.split_at(HELD_BACK);

    // Each in a request of its own; which of the two is sent first changes.
    let race = async |(number, (_, created, cancelled)): (usize, &(OrderId, Value, Value))| {
        let [first, second] = if number % 2 == 0 {
            [created, cancelled]
        } else {
            [cancelled, created]
        };
        let hand = async |told: &Value| arena.tell("catalog", std::slice::from_ref(told)).await;
        try_join(hand(first), hand(second)).await?;
        anyhow::Ok(())
    };
    let racing = stream::iter(free.iter().enumerate()).map(race);
    racing.buffer_unordered(AT_ONCE).try_collect::<()>().await?;

    // Here the reservation has seen no cancellation, and waits for its flower while one comes.
    let mut met = 0;
    let held: Vec<Uuid> = flowers.iter().copied().map(FlowerId::as_uuid).collect();
    for group in held_back.chunks(AT_ONCE) {
        arena.hold("catalog.flowers where id = any ($1)", &held).await?;
        let tell = |told: &Value| {
            let told = told.clone();
            let arena = &arena;
            async move { arena.tell("catalog", &[told]).await }
        };
        let reserving = try_join_all(group.iter().map(|(_, created, _)| tell(created)));
        let cancelling = async {
            met += arena.crowd(group.len()).await?;
            try_join_all(group.iter().map(|(_, _, cancelled)| tell(cancelled))).await?;
            arena.let_go().await
        };
        try_join(reserving, cancelling).await?;
    }
    ensure!(
        10 * met >= 9 * HELD_BACK,
        "only {met} reservations were overtaken"
    );

    let said = |orders: &[(OrderId, Value, Value)], said: &str| -> Vec<(Uuid, String)> {
        let orders = orders.iter();
        orders.map(|(id, ..)| (id.as_uuid(), said.to_owned())).collect()
    };
    arena.note(said(free, "free")).await?;
    arena.note(said(held_back, "overtaken")).await?;
    arena
        .expect_none(&[
            (
                "an order for which something is kept still, or that is not known",
                "select race.id::text || ' ' || coalesce(status, '') from race
                left join catalog.reservations on order_id = race.id
                where coalesce(status, '') not in ('released', 'withdrawn')",
            ),
            (
                "a reservation that was made after its cancellation",
                "select race.id::text from race join catalog.reservations on order_id = race.id
                where said = 'overtaken' and status <> 'withdrawn'",
            ),
            (
                "a reservation that was told and not made, or made and not told",
                "select race.id::text || ' ' || status from race
                join catalog.reservations on order_id = race.id
                left join catalog.reservation_items as item on item.order_id = race.id
                left join (
                    select aggregate_id, array_agg(event_type) as told from catalog.outbox_messages group by 1
                ) as answer on aggregate_id = race.id
                where case status
                    when 'released' then told is distinct from array['StockReserved'] or item.order_id is null
                    else told is not null or item.order_id is not null end",
            ),
            (
                "a flower that is gone, or too many",
                "select id::text || ' ' || stock_quantity from catalog.flowers
                where name = 'Rose of a race' and stock_quantity <> 1000",
            ),
        ])
        .await?;
    let inbox = arena.count("select count(*) from catalog.inbox", &[]).await?;
    assert_eq!(usize::try_from(inbox)?, 2 * RACES, "events that had their effect");
    let free_ended = "select count(*) from race join catalog.reservations on order_id = race.id
        where said = 'free' and status = $1";
    let released = arena.count(free_ended, &[&"released"]).await?;
    let withdrawn = arena.count(free_ended, &[&"withdrawn"]).await?;
    eprintln!("{released} reservations came first, {withdrawn} cancellations, and {met} while one waited");
    ensure!(released >= 50 && withdrawn >= 50, "one side always wins");
    arena.expect_no_deadlock().await
}
