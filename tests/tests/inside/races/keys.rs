//! Two requests with one idempotency key, at the same moment.

use super::{AT_ONCE, Arena, PATIENCE, RACES, id_of};
use crate::alone;
use anyhow::{Context, Result, ensure};
use futures::future::try_join;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::{Actor, Answer, eventually};
use uuid::Uuid;

/// How the second of two requests was answered.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// That the first was being worked on.
    in_flight: usize,
    /// As the first was.
    replayed: usize,
}

async fn send(user: &Actor, path: &str, key: &str, body: &Value) -> Result<Answer> {
    let request = user.request(Method::POST, path).json(body);
    user.send(request.header("idempotency-key", key)).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == "true"
}

/// Sends one request twice at the same moment and then once more. One does it, the other is told so or is told to wait,
/// and the last is answered as the one that did it.
async fn race(user: &Actor, path: &str, body: &Value, status: u16) -> Result<(Answer, Tally)> {
    let key = Uuid::now_v7().to_string();
    let (one, other) = try_join(send(user, path, &key, body), send(user, path, &key, body)).await?;
    let is_fresh = |answer: &Answer| answer.status == status && !is_replayed(answer);
    let (done, second) = if is_fresh(&one) {
        (one, other)
    } else {
        (other, one)
    };
    ensure!(is_fresh(&done), "nobody did it: {done:?}, {second:?}");
    let mut tally = Tally::default();
    if second.status == 409 {
        second.expect_problem(409, "request-in-flight")?;
        ensure!(!second.header("retry-after").is_empty(), "{second:?}");
        tally.in_flight += 1;
    } else {
        ensure!(is_same(&done, &second), "{done:?}, {second:?}");
        tally.replayed += 1;
    }
    let again = eventually("the answer is kept", PATIENCE, async || {
        let again = send(user, path, &key, body).await?;
        Ok((again.status != 409).then_some(again))
    })
    .await?;
    ensure!(is_same(&done, &again), "{done:?}, {again:?}");
    Ok((done, tally))
}

/// Whether an answer is what was answered before, and says so.
fn is_same(first: &Answer, again: &Answer) -> bool {
    let headers = ["location", "content-type"];
    is_replayed(again)
        && (again.status, &again.text) == (first.status, &first.text)
        && headers
            .iter()
            .all(|name| first.header(name) == again.header(name))
}

/// Runs races side by side; gives the answers of those who did it.
async fn race_all(
    what: &str,
    races: impl Iterator<Item = impl Future<Output = Result<(Answer, Tally)>>>,
) -> Result<Vec<Answer>> {
    let ended: Vec<(Answer, Tally)> = stream::iter(races)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let in_flight: usize = ended.iter().map(|(_, tally)| tally.in_flight).sum();
    let replayed: usize = ended.iter().map(|(_, tally)| tally.replayed).sum();
    eprintln!("{what}: {in_flight} were told that the other is in flight, {replayed} what it had come to");
    ensure!(in_flight >= 20, "{what}: only {in_flight} of {} met", ended.len());
    Ok(ended.into_iter().map(|(done, _)| done).collect())
}

#[tokio::test]
async fn two_requests_with_one_idempotency_key_have_one_effect_and_one_answer() -> Result<()> {
    let _alone = alone().await;
    let mut arena = Arena::open().await?;
    let (user, flower) = arena.customer().await?;
    let order = json!({
        "items": [{"flower_id": flower, "quantity": 1}],
        "delivery_address": "1 Rose Street",
        "payment_method": "pm_card_chargeDeclined",
    });
    let placing = (0..RACES).map(|_| race(&user, "/api/orders", &order, 201));
    let placed = race_all("orders", placing).await?;
    let orders = placed.iter().map(|answer| id_of(&answer.json()));
    let orders = orders.collect::<Result<Vec<_>>>()?;

    // A third is cancelled, a third paid with a good card, and a third with one that is declined again, of which
    // each attempt would be one more.
    arena
        .tell_all("payment", &arena.told("ordering", "OrderCreated").await?)
        .await?;
    let (cancelled, paid) = orders.split_at(RACES / 3);
    let cancel = async |id: &Uuid| race(&user, &format!("/api/orders/{id}/cancel"), &json!({}), 200).await;
    let pay = async |(number, id): (usize, &Uuid)| {
        let method = ["pm_card_visa", "pm_card_chargeDeclined"][number % 2];
        let body = json!({"order_id": id, "payment_method": method});
        race(&user, "/api/payments/process", &body, 201).await
    };
    race_all("cancellations", cancelled.iter().map(cancel)).await?;
    let payments = race_all("payments", paid.iter().enumerate().map(pay)).await?;

    let cancelled = cancelled.iter().map(|id| (*id, "cancelled".to_owned()));
    arena.note(cancelled).await?;
    for answer in payments {
        let payment = answer.json();
        let status = payment["status"].as_str().context("no status")?.to_owned();
        let order_id = payment["order_id"].as_str().context("no order")?.parse()?;
        arena.note([(order_id, status)]).await?;
    }
    arena.shop.start_relay(&[]).await?;
    arena.come_to_rest().await?;
    arena
        .expect_none(&[
            (
                "an order that was not acknowledged, or an acknowledged one that is lost",
                "select coalesce(race.id, orders.id)::text from race
                full join ordering.orders on orders.id = race.id
                where race.id is null or orders.id is null",
            ),
            (
                "an order that came to something else than was answered",
                "select race.id::text || ' ' || said || ' ' || status from race
                join ordering.orders on orders.id = race.id
                where status <> case said when 'cancelled' then 'cancelled' when 'completed' then 'shipping'
                    when 'failed' then 'payment_failed' end",
            ),
            (
                "an order that was told of or cancelled twice",
                "select race.id::text || ' ' || coalesce(told, 'nothing') from race
                left join (
                    select aggregate_id, string_agg(event_type, ' ' order by id) as told
                    from ordering.outbox_messages
                    where event_type in ('OrderCreated', 'OrderCancelled', 'OrderPaid')
                    group by 1
                ) as words on aggregate_id = race.id
                where told is distinct from case said when 'cancelled' then 'OrderCreated OrderCancelled'
                    when 'completed' then 'OrderCreated OrderPaid' else 'OrderCreated' end",
            ),
            (
                "an order with another number of attempts to pay, or charges, than were asked for",
                "select race.id::text || ' ' || said from race
                join payment.payments on order_id = race.id
                left join payment_provider.charges on payments.id = split_part(charges.key, ':', 1)::uuid
                group by race.id, said
                having count(distinct payments.id) <> case said when 'cancelled' then 1 else 2 end
                or count(charges.key) <> count(distinct payments.id)
                or count(*) filter (where outcome = 'succeeded')
                    <> case said when 'completed' then 1 else 0 end",
            ),
        ])
        .await?;
    let keys = "select (select count(*) from ordering.idempotency_keys where answer is not null)
        + (select count(*) from payment.idempotency_keys where answer is not null)";
    assert_eq!(
        usize::try_from(arena.count(keys, &[]).await?)?,
        2 * RACES,
        "kept answers"
    );
    Ok(())
}
