//! Payments, refunds and cancellations of one order that meet. What was taken is what the provider's own ledger says.

use super::{AT_ONCE, Arena, BATCH, RACES, event, id_of};
use crate::alone;
use anyhow::{Context, Result, ensure};
use contracts::{
    ChargeLookUpDue, Money, OrderCancelled, OrderCreated, OrderId, PaymentCompleted, PaymentFailed,
    PaymentId, PaymentMethod, StockReserved, UserId,
};
use futures::future::{try_join, try_join_all};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::{Actor, Answer};
use std::cell::Cell;
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// Orders that are raced for at the same moment.
const GROUP: usize = 10;
/// The trace of requests that pay again.
const RETRY: &str = "0af7651916cd43dd8448eb211c80319c";
const PAYMENT_ORDERS: &str = "payment.orders where id = any ($1)";
const ORDERS: &str = "ordering.orders where id = any ($1)";
/// The provider's charges of orders.
const CHARGES: &str = "payment_provider.charges where split_part(key, ':', 1) in
    (select id::text from payment.payments where order_id = any ($1))";
/// What the provider kept of each order's money, how often it took some, and how often it gave some back.
const LEDGER: &str = "create view ledger as
    select
        order_id,
        count(distinct charges.key) filter (where outcome = 'succeeded') as taken,
        count(distinct refunds.key) as given_back,
        coalesce(sum(distinct charges.amount_minor - refunded_minor) filter (where outcome = 'succeeded'), 0)::int8
            as kept
    from payment.payments
    join payment_provider.charges on split_part(charges.key, ':', 1) = payments.id::text
    left join payment_provider.refunds on refunds.charge_key = charges.key
    group by order_id";

async fn open() -> Result<Arena> {
    let arena = Arena::open().await?;
    arena.database.batch_execute(LEDGER).await?;
    Ok(arena)
}

fn order_id_of(event: &Value) -> Result<OrderId> {
    Ok(event["data"]["order_id"].as_str().context("no order")?.parse()?)
}

fn created(payment_method: PaymentMethod) -> Result<Value> {
    event(OrderCreated {
        order_id: OrderId::new(),
        user_id: UserId::new(),
        total: Money::rub(15_000)?,
        payment_method,
        payment_due_at: None,
        items: Vec::new(),
    })
}

fn cancelled(order_id: OrderId) -> Result<Value> {
    event(OrderCancelled {
        order_id,
        reason: "cancelled_by_user".to_owned(),
    })
}

/// Has payment charge these orders, of each of which it hears no answer in time: the attempts are under way still.
async fn charge_without_answer(arena: &Arena, created: &[Value]) -> Result<()> {
    let batches = stream::iter(created.chunks(BATCH)).map(|batch| arena.hand("payment", batch.to_vec()));
    let again: Vec<Vec<Value>> = batches.buffer_unordered(10).try_collect().await?;
    assert_eq!(again.concat().len(), created.len(), "attempts that are under way");
    Ok(())
}

/// The payments of these orders, in their order.
async fn payments(arena: &Arena, orders: &[OrderId]) -> Result<Vec<PaymentId>> {
    let ids: Vec<Uuid> = orders.iter().copied().map(OrderId::as_uuid).collect();
    let query = "select payments.id::text from unnest($1::uuid[]) with ordinality as given (id, place)
        join payment.payments on order_id = given.id order by place";
    let rows = arena.database.query(query, &[&ids]).await?;
    let ids = rows.iter().map(|row| Ok(row.try_get::<_, String>(0)?.parse()?));
    ids.collect()
}

/// Tells each of these in a request of its own, in any order.
async fn tell_each(arena: &Arena, service: &str, mut events: Vec<Value>) -> Result<()> {
    events.shuffle(&mut rand::rng());
    try_join_all(events.chunks(1).map(|event| arena.tell(service, event))).await?;
    Ok(())
}

/// Cancels an order, again until there is an answer that says what came of it.
async fn cancel(user: &Actor, order_id: Uuid) -> Result<Answer> {
    loop {
        let answer = user
            .post(&format!("/api/orders/{order_id}/cancel"), &json!({}))
            .await?;
        if answer.status != 503 {
            return Ok(answer);
        }
    }
}

#[tokio::test]
async fn a_cancellation_that_meets_the_payment_ends_without_money_taken_or_is_refused() -> Result<()> {
    let _alone = alone().await;
    let mut arena = open().await?;
    let (user, flower) = arena.customer().await?;
    arena.shop.start_relay(&[]).await?;
    // Who comes too late comes earlier next time, and the other way round: so they meet about as often as they do not.
    let edge = Cell::new(0.1);
    let race = async |_| {
        let order_id = id_of(&user.order(&flower, 1).await?.expect(201)?)?;
        let moment = edge.get() * rand::rng().random_range(0.0..2.0);
        sleep(Duration::from_secs_f64(moment)).await;
        let answer = cancel(&user, order_id).await?;
        if answer.status == 409 {
            answer.expect_problem(409, "order-handed-over")?;
            edge.set(edge.get() / 1.05);
            return Ok((order_id, "refused".to_owned()));
        }
        assert_eq!(answer.expect(200)?["status"], "cancelled");
        edge.set((edge.get() * 1.05).min(2.0));
        anyhow::Ok((order_id, "cancelled".to_owned()))
    };
    let racing = stream::iter(0..RACES).map(race).buffer_unordered(2 * AT_ONCE);
    let said: Vec<(Uuid, String)> = racing.try_collect().await?;
    let refused = said.iter().filter(|(_, said)| said == "refused").count();
    arena.note(said).await?;
    arena.come_to_rest().await?;
    arena
        .expect_none(&[
            (
                "an order that is not what its client was told",
                "select race.id::text || ' ' || said || ' ' || status from race
                join ordering.orders on orders.id = race.id
                where status <> case said when 'cancelled' then 'cancelled' else 'shipping' end
                or status_reason is distinct from case said when 'cancelled' then 'cancelled_by_user' end",
            ),
            (
                "money that was kept for a cancelled order, or is missing for another",
                "select race.id::text || ' ' || said || ' ' || coalesce(kept, 0) from race
                left join ledger on order_id = race.id
                where coalesce(kept, 0) <> case said when 'cancelled' then 0 else 15000 end
                or taken > 1 or given_back > 1 or (said = 'refused' and given_back > 0)",
            ),
            (
                "an order that was handed over and cancelled, or neither, or shipped all the same",
                "select race.id::text || ' ' || said from race
                left join delivery.orders as known on known.id = race.id
                where (known.id is null) <> (said = 'cancelled')
                or (select array_agg(event_type) from ordering.outbox_messages
                    where aggregate_id = race.id and event_type in ('OrderPaid', 'OrderCancelled'))
                    is distinct from array[case said when 'cancelled' then 'OrderCancelled' else 'OrderPaid' end]",
            ),
            (
                "a reservation that does not fit",
                "select race.id::text || ' ' || said || ' ' || coalesce(status, '') from race
                left join catalog.reservations on order_id = race.id
                where case said when 'cancelled' then coalesce(status, '') not in ('released', 'withdrawn')
                    else status is distinct from 'reserved' end",
            ),
            (
                "a stock that does not add up",
                "select stock_quantity::text from catalog.flowers where name = 'Rose of many'
                and stock_quantity <> 1000000 - (select count(*) from race where said = 'refused')",
            ),
        ])
        .await?;
    let refunded = arena
        .count("select count(*) from ledger where given_back = 1", &[])
        .await?;
    let never_charged = RACES - refused - usize::try_from(refunded)?;
    eprintln!("{refused} were refused, {refunded} refunded, {never_charged} never charged");
    ensure!(
        refused >= 50 && refunded >= 50 && never_charged >= 10,
        "one side always wins"
    );
    Ok(())
}

#[tokio::test]
async fn paying_again_while_the_first_attempt_succeeds_late_charges_once() -> Result<()> {
    let _alone = alone().await;
    let mut arena = open().await?;
    let (user, flower) = arena.customer().await?;
    arena.place(&user, &flower, "pm_card_slow", RACES).await?;
    let created = arena.told("ordering", "OrderCreated").await?;
    charge_without_answer(&arena, &created).await?;

    let retry = async |order_id: OrderId| {
        let request = user.request(Method::POST, "/api/payments/process");
        let request = request.header("traceparent", format!("00-{RETRY}-b7ad6b7169203331-01"));
        let body = json!({"order_id": order_id, "payment_method": "pm_card_visa"});
        // The payment that is under way or stands, never another.
        user.send(request.json(&body)).await?.expect(200)
    };
    let race = async |created: &Value| {
        let retried = retry(order_id_of(created)?);
        let succeeds = arena.tell("payment", std::slice::from_ref(created));
        anyhow::Ok(try_join(retried, succeeds).await?.0)
    };

    // One half meets when the money has been taken and nobody has written it down.
    let (held, free) = created.split_at(RACES / 2);
    let taken = "update payment_provider.charges set settles_at = now()";
    arena.database.execute(taken, &[]).await?;
    let (mut met, mut answers) = (0, Vec::new());
    for group in held.chunks(GROUP) {
        let ids = group.iter().map(|event| Ok(order_id_of(event)?.as_uuid()));
        let ids = ids.collect::<Result<Vec<_>>>()?;
        let race = arena.meet(
            PAYMENT_ORDERS,
            &ids,
            2 * GROUP,
            try_join_all(group.iter().map(race)),
        );
        let (answered, waiting) = race.await?;
        met += waiting;
        answers.extend(answered);
    }
    // The other half meets around the moment at which it is taken.
    let settle = CHARGES.replacen(
        " where ",
        " set settles_at = clock_timestamp() + random() * interval '30 milliseconds' where ",
        1,
    );
    let settle = format!("update {settle}");
    let around = async |created: &Value| {
        let ids = [order_id_of(created)?.as_uuid()];
        arena.database.execute(&settle, &[&ids.as_slice()]).await?;
        race(created).await
    };
    let racing = stream::iter(free).map(around).buffer_unordered(AT_ONCE);
    answers.extend(racing.try_collect::<Vec<_>>().await?);

    let said = answers.iter().map(|payment| {
        let order_id = payment["order_id"].as_str().context("no order")?.parse()?;
        Ok((order_id, payment["id"].as_str().context("no id")?.to_owned()))
    });
    arena.note(said.collect::<Result<Vec<_>>>()?).await?;
    let processing = answers
        .iter()
        .filter(|payment| payment["status"] == "processing")
        .count();
    let by_retries = "select count(*) from payment.outbox_messages
        where event_type = 'PaymentCompleted' and payload ->> 'traceparent' like '%' || $1 || '%'";
    let by_retries = usize::try_from(arena.count(by_retries, &[&RETRY]).await?)?;
    eprintln!(
        "{met} of {RACES} met; {by_retries} were written down by the retry, {processing} of which heard too early"
    );
    ensure!(10 * met >= 9 * RACES, "only {met} met");
    ensure!(
        (50..RACES - 50).contains(&by_retries),
        "one side always wins: {by_retries}"
    );

    arena.shop.start_relay(&[]).await?;
    arena.come_to_rest().await?;
    arena
        .expect_none(&[
            (
                "an order that was not charged once",
                "select race.id::text || ' ' || coalesce(taken, 0) || ' ' || coalesce(kept, 0) from race
                left join ledger on order_id = race.id
                where taken is distinct from 1 or kept is distinct from 15000 or given_back > 0",
            ),
            (
                "an order with another attempt than the first",
                "select race.id::text from race
                left join payment.payments on order_id = race.id
                group by race.id, said
                having array_agg(payments.id::text || status || attempt) <> array[said || 'completed' || 1]",
            ),
            (
                "a payment that was not told once",
                "select said from race
                left join payment.outbox_messages on aggregate_id::text = said
                group by said having array_agg(event_type) is distinct from array['PaymentCompleted']",
            ),
            (
                "an order that is not on its way",
                "select race.id::text || ' ' || coalesce(status, '') from race
                left join ordering.orders on orders.id = race.id where status is distinct from 'shipping'",
            ),
        ])
        .await
}

#[tokio::test]
async fn late_words_of_an_older_attempt_change_nothing_of_a_paid_order() -> Result<()> {
    let _alone = alone().await;
    let arena = open().await?;
    let (user, flower) = arena.customer().await?;
    let orders = arena.place(&user, &flower, "pm_card_visa", RACES).await?;
    let reserved = orders.iter().map(|id| {
        let order_id: OrderId = id.to_string().parse()?;
        event(StockReserved { order_id })
    });
    let reserved = reserved.collect::<Result<Vec<_>>>()?;
    arena.tell_all("ordering", &reserved).await?;
    let mut met = 0;
    for group in orders.chunks(GROUP) {
        let mut facts = Vec::new();
        for order_id in group {
            let order_id: OrderId = order_id.to_string().parse()?;
            let (first, second) = (PaymentId::new(), PaymentId::new());
            let declined = |attempt| PaymentFailed {
                order_id,
                payment_id: first,
                attempt,
                reason: "card_declined".to_owned(),
            };
            let completed = PaymentCompleted {
                order_id,
                payment_id: second,
                attempt: 2,
                amount: Money::rub(15_000)?,
                transaction_id: "tx".to_owned(),
            };
            facts.push(event(declined(1))?);
            facts.push(event(declined(1))?);
            facts.push(event(completed)?);
        }
        let wanted = facts.len();
        let race = arena.meet(ORDERS, group, wanted, tell_each(&arena, "ordering", facts));
        met += race.await?.1;
    }
    let failed_first = "select count(*) from ordering.order_history where status = 'payment_failed'";
    let failed_first = usize::try_from(arena.count(failed_first, &[]).await?)?;
    eprintln!(
        "{met} of {} met; {failed_first} heard of the failure first",
        3 * RACES
    );
    ensure!(10 * met >= 9 * 3 * RACES, "only {met} of {} met", 3 * RACES);
    ensure!((50..RACES - 50).contains(&failed_first), "one side always wins");
    arena
        .expect_none(&[
            (
                "an order that is not paid by its second attempt",
                "select id::text || ' ' || status || ' ' || payment_attempt from ordering.orders
                where status <> 'payment_completed' or payment_attempt <> 2 or not stock_reserved or version <> 5",
            ),
            (
                "an order that was not handed over once",
                "select orders.id::text from ordering.orders
                left join ordering.outbox_messages on aggregate_id = orders.id and event_type = 'OrderPaid'
                group by orders.id having count(event_type) <> 1",
            ),
            (
                "an order with another history",
                "select orders.id::text || ': ' || string_agg(history.status, ' ' order by history.version)
                from ordering.orders
                join ordering.order_history as history on order_id = orders.id
                group by orders.id
                having string_agg(history.status, ' ' order by history.version) not in
                    ('created payment_completed', 'created payment_failed payment_completed')",
            ),
        ])
        .await?;
    arena.expect_no_deadlock().await
}

/// What holds of every cancelled order whose money was taken: it was given back, once.
const REFUNDED_ONCE: [(&str, &str); 3] = [
    (
        "an order whose money was not given back once",
        "select race.id::text || ' ' || coalesce(taken, 0) || ' ' || coalesce(given_back, 0) from race
        left join ledger on order_id = race.id
        where taken is distinct from 1 or given_back is distinct from 1 or kept is distinct from 0",
    ),
    (
        "a payment that says something else",
        "select race.id::text || ' ' || coalesce(status, '') from race
        left join payment.payments on order_id = race.id where status is distinct from 'refunded'",
    ),
    (
        "a payment whose end was not told once",
        "select race.id::text from race
        join payment.payments on order_id = race.id
        left join payment.outbox_messages as outbox on aggregate_id = payments.id
        group by race.id
        having array_agg(event_type order by outbox.id)
            is distinct from array['PaymentCompleted', 'PaymentRefunded']",
    ),
];

#[tokio::test]
async fn one_cancellation_told_twice_at_the_same_moment_refunds_once() -> Result<()> {
    let _alone = alone().await;
    let arena = open().await?;
    let created = (0..RACES)
        .map(|_| created(PaymentMethod::Visa))
        .collect::<Result<Vec<_>>>()?;
    arena.tell_all("payment", &created).await?;
    let orders = created.iter().map(order_id_of).collect::<Result<Vec<_>>>()?;
    let mut met = 0;
    for group in orders.chunks(GROUP) {
        let ids: Vec<Uuid> = group.iter().copied().map(OrderId::as_uuid).collect();
        let batch = group
            .iter()
            .map(|id| cancelled(*id))
            .collect::<Result<Vec<_>>>()?;
        let backwards: Vec<Value> = batch.iter().rev().cloned().collect();
        // Both have found that nothing was given back, and wait for the charge at the provider.
        let race = try_join(arena.tell("payment", &batch), arena.tell("payment", &backwards));
        met += arena.meet(CHARGES, &ids, 2 * GROUP, race).await?.1;
    }
    eprintln!("{met} of {} refunds met at the provider", 2 * RACES);
    ensure!(
        10 * met >= 8 * 2 * RACES,
        "only {met} of {} refunds met",
        2 * RACES
    );
    arena
        .note(orders.iter().map(|id| (id.as_uuid(), String::new())))
        .await?;
    arena.expect_none(&REFUNDED_ONCE).await?;
    arena.expect_no_deadlock().await
}

#[tokio::test]
async fn a_cancellation_and_a_late_success_at_the_same_moment_refund_once() -> Result<()> {
    let _alone = alone().await;
    let arena = open().await?;
    let created = (0..RACES)
        .map(|_| created(PaymentMethod::Flaky))
        .collect::<Result<Vec<_>>>()?;
    charge_without_answer(&arena, &created).await?;
    let orders = created.iter().map(order_id_of).collect::<Result<Vec<_>>>()?;
    let payments = payments(&arena, &orders).await?;
    assert_eq!(payments.len(), RACES);
    // The event that started the attempt comes again, its timer comes home, and the order is cancelled.
    let mut paths = Vec::new();
    for ((created, order_id), payment_id) in created.into_iter().zip(&orders).zip(payments) {
        let due = ChargeLookUpDue {
            order_id: *order_id,
            payment_id,
        };
        paths.push(vec![created, event(due)?, cancelled(*order_id)?]);
    }
    let (held, free) = paths.split_at(RACES / 2);
    let mut met = 0;
    for (group, ids) in held.chunks(GROUP).zip(orders.chunks(GROUP)) {
        let ids: Vec<Uuid> = ids.iter().copied().map(OrderId::as_uuid).collect();
        let race = tell_each(&arena, "payment", group.concat());
        met += arena.meet(PAYMENT_ORDERS, &ids, 3 * GROUP, race).await?.1;
    }
    let racing = stream::iter(free).map(|path| tell_each(&arena, "payment", path.clone()));
    racing.buffer_unordered(AT_ONCE).try_collect::<()>().await?;

    arena
        .note(orders.iter().map(|id| (id.as_uuid(), String::new())))
        .await?;
    // One statement tells of both where the cancellation was stored first.
    let cancelled_first = "select count(*) from (
            select from payment.outbox_messages group by aggregate_id having count(distinct occurred_at) = 1
        ) as told";
    let cancelled_first = usize::try_from(arena.count(cancelled_first, &[]).await?)?;
    eprintln!(
        "{met} of {} met; {cancelled_first} were cancelled first",
        3 * RACES / 2
    );
    ensure!(
        10 * met >= 8 * 3 * RACES / 2,
        "only {met} of {} met",
        3 * RACES / 2
    );
    ensure!(
        (50..RACES - 50).contains(&cancelled_first),
        "one side always wins"
    );
    arena.expect_none(&REFUNDED_ONCE).await?;
    let inbox = arena.count("select count(*) from payment.inbox", &[]).await?;
    assert_eq!(usize::try_from(inbox)?, 3 * RACES, "events that had their effect");
    arena.expect_no_deadlock().await
}
