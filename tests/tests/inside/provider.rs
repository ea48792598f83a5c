//! The payment provider, composed into payment: what it does must not hold, break or fail who calls it.

use crate::{alone, tell};
use anyhow::{Result, ensure};
use contracts::{Event, EventId, Money, OrderCreated, OrderId, PaymentMethod, UserId};
use serde_json::Value;
use shop_tests::events::cloud_event;
use shop_tests::{Shop, eventually};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// As many as a batch may have.
const BATCH: usize = 100;
/// Slow cards that are charged while another is.
const SLOW: usize = 10;
/// A call of the provider is given up after a second. One after another, a batch would take minutes.
const SIDE_BY_SIDE: Duration = Duration::from_secs(10);
/// How long a ledger may take to move on.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shop without relays, of whose payment there is one instance.
async fn shop() -> Result<Shop> {
    let mut shop = Shop::prepare().await?;
    let one_instance = ["--instances-per-component".to_owned(), "1".to_owned()];
    shop.start_host_with(&one_instance).await?;
    Ok(shop)
}

fn order(payment_method: PaymentMethod) -> Result<Value> {
    let event = Event::from(OrderCreated {
        order_id: OrderId::new(),
        user_id: UserId::new(),
        total: Money::rub(15_000)?,
        payment_method,
        payment_due_at: None,
        items: Vec::new(),
    });
    cloud_event(EventId::new(), &event)
}

fn orders(payment_method: PaymentMethod, count: usize) -> Result<Vec<Value>> {
    (0..count).map(|_| order(payment_method)).collect()
}

fn count(outcomes: Vec<String>) -> BTreeMap<String, usize> {
    outcomes.into_iter().fold(BTreeMap::new(), |mut counts, outcome| {
        *counts.entry(outcome).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn calls_of_one_batch_run_side_by_side_and_those_given_up_leave_the_instance_sound() -> Result<()> {
    let _alone = alone().await;
    let shop = shop().await?;
    let mut batch = orders(PaymentMethod::Slow, BATCH - 10)?;
    batch.extend(orders(PaymentMethod::Visa, 10)?);
    let started = Instant::now();
    let outcomes = count(tell(&shop, "payment", &batch).await?);
    ensure!(
        started.elapsed() < SIDE_BY_SIDE,
        "the batch took {:?}",
        started.elapsed()
    );
    let expected = BTreeMap::from([("processed".to_owned(), 10), ("retry".to_owned(), BATCH - 10)]);
    assert_eq!(outcomes, expected);

    // Each of the calls that were given up had made its charge.
    let charges = shop
        .count("select count(*) from payment_provider.charges")
        .await?;
    assert_eq!(usize::try_from(charges)?, BATCH);
    assert_eq!(
        tell(&shop, "payment", &[order(PaymentMethod::Visa)?]).await?,
        ["processed"]
    );
    let log = shop.log("host");
    ensure!(!log.contains("an instance ended"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_slow_card_does_not_hold_other_requests_of_the_same_instance() -> Result<()> {
    let _alone = alone().await;
    let shop = shop().await?;
    let begun = "select count(*) from payment_provider.charges where method = 'pm_card_slow'";
    // The slow card is given up after a second: on a machine that is busy elsewhere that may be too early.
    for round in 1..=10 {
        let slow = orders(PaymentMethod::Slow, SLOW)?;
        let quick = [order(PaymentMethod::Visa)?];
        let slow = async { tell(&shop, "payment", &slow).await.map(|_| Instant::now()) };
        let quick = async {
            let all_begun = i64::try_from(round * SLOW)?;
            let look = async || Ok((shop.count(begun).await? == all_begun).then_some(()));
            eventually("the slow cards are being charged", PATIENCE, look).await?;
            let outcomes = tell(&shop, "payment", &quick).await?;
            assert_eq!(outcomes, ["processed"]);
            anyhow::Ok(Instant::now())
        };
        let (slow, quick) = tokio::try_join!(slow, quick)?;
        if quick < slow {
            return Ok(());
        }
    }
    anyhow::bail!("the quick card always waited for the slow ones")
}

#[tokio::test]
async fn a_ledger_that_hangs_is_given_up_and_the_charge_is_made_once_when_it_moves_on() -> Result<()> {
    let _alone = alone().await;
    let shop = shop().await?;
    let mut database = shop.database_of("payment_provider").await?;
    let batch = orders(PaymentMethod::Visa, BATCH)?;
    let hanging = database.transaction().await?;
    hanging
        .batch_execute("lock table payment_provider.charges in access exclusive mode")
        .await?;
    let all = |outcome: &str| BTreeMap::from([(outcome.to_owned(), BATCH)]);
    assert_eq!(count(tell(&shop, "payment", &batch).await?), all("retry"));
    hanging.commit().await?;

    // Calls that were given up may still be on their way through the ledger.
    eventually("every order is paid", PATIENCE, async || {
        let outcomes = count(tell(&shop, "payment", &batch).await?);
        Ok((!outcomes.contains_key("retry")).then_some(()))
    })
    .await?;
    let charges = shop
        .count("select count(*) from payment_provider.charges")
        .await?;
    assert_eq!(usize::try_from(charges)?, BATCH);
    let log = shop.log("host");
    ensure!(!log.contains("an instance ended"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_fails_is_no_answer_and_the_charge_is_made_when_it_is_back() -> Result<()> {
    let _alone = alone().await;
    let shop = shop().await?;
    let database = shop.database_of("payment_provider").await?;
    let order = order(PaymentMethod::Visa)?;
    database
        .batch_execute("alter table payment_provider.charges rename to away")
        .await?;
    assert_eq!(
        tell(&shop, "payment", std::slice::from_ref(&order)).await?,
        ["retry"]
    );

    database
        .batch_execute("alter table payment_provider.away rename to charges")
        .await?;
    assert_eq!(tell(&shop, "payment", &[order]).await?, ["processed"]);
    assert_eq!(
        shop.count("select count(*) from payment_provider.charges")
            .await?,
        1
    );
    Ok(())
}
