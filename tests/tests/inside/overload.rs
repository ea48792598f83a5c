//! More load than the shop can bear. What it can bear is set by the host's bound on requests in flight and a slow way
//! to Postgres, so that neither the machine nor the generator is what gives way; the generator is open-loop (it sends
//! when it is time to, whatever has been answered) and has a thread of its own, pinned to a processor where that can be
//! done. Only ratios are judged, of loads on a rested shop that differ in nothing else; since other things may happen to
//! the machine meanwhile, it may be tried again.

use crate::alone;
use anyhow::{Context, Result, ensure};
use shop_tests::proxy::Mood;
use shop_tests::{Actor, Shop, eventually};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);
/// Requests that each component works on at a time, and as many that wait.
const IN_FLIGHT: usize = 8;
/// How much later each piece of what a component and Postgres say to each other arrives.
const DETOUR: Duration = Duration::from_millis(8);
/// How long each load is kept up.
const LOAD: Duration = Duration::from_secs(6);
/// How often somebody asks meanwhile whether the shop lives.
const PROBE: Duration = Duration::from_millis(50);
/// What is kept of the peak when twice as much is offered.
const KEPT: f64 = 0.8;
/// What a machine that others use as well may take.
const TRIES: usize = 3;

/// What became of the orders of one load, and of all else meanwhile.
#[derive(Default)]
struct Outcome {
    /// Answers to who asked whether the shop lives.
    probes: usize,
    /// Orders that went on.
    paid: i64,
    acknowledged: Vec<Uuid>,
    /// How long each of them took.
    served: Vec<Duration>,
    /// How long those took that were turned away.
    shed: Vec<Duration>,
}

impl Outcome {
    fn add(&mut self, answer: Order) {
        match answer {
            Order::Placed(id, took) => {
                self.acknowledged.push(id);
                self.served.push(took);
            }
            Order::Shed(took) => self.shed.push(took),
        }
    }

    fn goodput(&self) -> f64 {
        self.acknowledged.len() as f64 / LOAD.as_secs_f64()
    }
}

enum Order {
    Placed(Uuid, Duration),
    Shed(Duration),
}

/// Orders a rose. Whatever is neither an order nor a refusal that says when to come again is an error.
async fn order(user: Actor, rose: Arc<str>) -> Result<Order> {
    let start = Instant::now();
    let answer = user.order(&rose, 1).await?;
    let took = start.elapsed();
    match answer.status.as_u16() {
        201 => {
            let id = answer.json()["id"].as_str().context("no id")?.parse()?;
            Ok(Order::Placed(id, took))
        }
        429 | 503 => {
            let retry_after: u64 = answer
                .header("retry-after")
                .parse()
                .with_context(|| format!("turned away without Retry-After: {}", answer.text))?;
            ensure!((1..=60).contains(&retry_after), "Retry-After: {retry_after}");
            Ok(Order::Shed(took))
        }
        status => anyhow::bail!("{status}: {}", answer.text),
    }
}

/// As much as the shop can bear: each client sends its next order when the one before is answered.
async fn closed_loop(users: Vec<Actor>, rose: Arc<str>) -> Result<Outcome> {
    let end = Instant::now() + LOAD;
    let mut clients = JoinSet::new();
    for client in 0..IN_FLIGHT {
        let user = users[client % users.len()].clone();
        let rose = Arc::clone(&rose);
        clients.spawn(async move {
            let mut answers = Vec::new();
            while Instant::now() < end {
                answers.push(order(user.clone(), Arc::clone(&rose)).await?);
            }
            anyhow::Ok(answers)
        });
    }
    let mut outcome = Outcome::default();
    while let Some(answers) = clients.join_next().await {
        answers??.into_iter().for_each(|answer| outcome.add(answer));
    }
    Ok(outcome)
}

/// So many orders a second, each at its time.
async fn open_loop(users: Vec<Actor>, rose: Arc<str>, per_second: f64) -> Result<Outcome> {
    let start = tokio::time::Instant::now();
    let count = (per_second * LOAD.as_secs_f64()) as u32;
    let mut orders = JoinSet::new();
    for number in 0..count {
        tokio::time::sleep_until(start + Duration::from_secs_f64(f64::from(number) / per_second)).await;
        let user = users[number as usize % users.len()].clone();
        orders.spawn(order(user, Arc::clone(&rose)));
    }
    let mut outcome = Outcome::default();
    while let Some(answer) = orders.join_next().await {
        outcome.add(answer??);
    }
    Ok(outcome)
}

/// Runs a load on a thread and, where that can be done, a processor of its own.
async fn generate<F>(load: impl FnOnce() -> F + Send + 'static) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>>,
{
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                if let Ok(thread) = std::fs::read_link("/proc/thread-self")
                    && let Some(id) = thread.file_name().and_then(|id| id.to_str())
                {
                    pin(&["-p"], "1", id).await;
                }
                load().await
            })
        };
        // The test that asked is there until it has the answer.
        let _ = done.send(run());
    });
    outcome.await?
}

/// Keeps a thread, or all of a process with `-a`, to one processor; a machine that has only one, or no `taskset`, goes on
/// without.
async fn pin(how: &[&str], processor: &str, id: &str) {
    let taskset = Command::new("taskset")
        .args(how)
        .args(["-c", processor, id])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    let _ = taskset.await;
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Puts a load on the shop, whose way to Postgres is slow meanwhile, and lets it come to rest.
async fn measure<F>(shop: &Shop, load: impl FnOnce() -> F + Send + 'static) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>>,
{
    let (links, anybody) = (shop.links().context("no links")?, shop.anonymous()?);
    links.postgres.behave(Mood::Slow(DETOUR));
    // Meanwhile the saga goes on, and who asks whether the shop lives is told.
    let paid = "select count(*) from ordering.orders where status <> 'created'";
    let paid_before = shop.count(paid).await?;
    let mut probes = 0;
    let outcome = tokio::select! {
        outcome = generate(load) => outcome?,
        never = probe(&anybody, &mut probes) => match never? {},
    };
    let paid = shop.count(paid).await? - paid_before;
    links.postgres.behave(Mood::Well);
    eventually("every order is on its way", PATIENCE, async || {
        let open = "select count(*) from ordering.orders where status <> 'shipping'";
        Ok((shop.count(open).await? == 0).then_some(()))
    })
    .await
    .with_context(|| shop.log("relay-0"))?;
    Ok(Outcome {
        probes,
        paid,
        ..outcome
    })
}

/// Asks the gateway and a service for their health again and again; both must be answered, and soon enough.
async fn probe(anybody: &Actor, probes: &mut usize) -> Result<Infallible> {
    let mut pause = tokio::time::interval(PROBE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        for path in ["/health/live", "/internal/ordering/health"] {
            anybody.get(path).await?.expect(200).context(path)?;
            *probes += 1;
        }
    }
}

/// Twice the load that the shop can bear, between two measurements of what that is.
struct Try {
    before: Outcome,
    offered_per_second: f64,
    overload: Outcome,
    after: Outcome,
}

impl Try {
    async fn run(shop: &Shop, users: &[Actor], rose: &Arc<str>) -> Result<Self> {
        let peak = async || {
            let (these, this) = (users.to_vec(), Arc::clone(rose));
            measure(shop, move || closed_loop(these, this)).await
        };
        let before = peak().await?;
        let (these, this, rate) = (users.to_vec(), Arc::clone(rose), 2.0 * before.goodput());
        let overload = measure(shop, move || open_loop(these, this, rate)).await?;
        Ok(Self {
            before,
            offered_per_second: rate,
            overload,
            after: peak().await?,
        })
    }

    fn acknowledged(&self) -> impl Iterator<Item = Uuid> {
        let outcomes = [&self.before, &self.overload, &self.after];
        outcomes
            .into_iter()
            .flat_map(|outcome| outcome.acknowledged.iter().copied())
    }

    /// That the shop was in good order, as far as this try says.
    fn judge(&mut self) -> Result<()> {
        let (before, after) = (self.before.goodput(), self.after.goodput());
        let overload = &mut self.overload;
        let kept = overload.goodput() / before.min(after);
        let (shed, served) = (median(&mut overload.shed), median(&mut overload.served));
        let summary = format!(
            "peaks {before:.0}/s and {after:.0}/s, {:.0}/s offered between them: {:.0}/s served ({kept:.2} of the lower \
             peak), {} turned away, median {shed:?} against {served:?}; {} orders went on, {} probes",
            self.offered_per_second,
            overload.goodput(),
            overload.shed.len(),
            overload.paid,
            overload.probes,
        );
        println!("{summary}");
        for peak in [&self.before, &self.after] {
            ensure!(
                peak.shed.is_empty(),
                "{} were shed at the bound itself: {summary}",
                peak.shed.len()
            );
            ensure!(
                peak.acknowledged.len() > 50,
                "{} orders are too few to judge by: {summary}",
                peak.acknowledged.len()
            );
        }
        ensure!(kept >= KEPT, "{summary}");
        ensure!(!overload.shed.is_empty(), "that was no overload: {summary}");
        ensure!(
            shed < served,
            "to be turned away took longer than to be served: {summary}"
        );
        ensure!(overload.paid > 0 && overload.probes > 0, "{summary}");
        Ok(())
    }
}

#[tokio::test]
async fn at_twice_the_load_it_can_bear_the_shop_sheds_quickly_serves_on_and_loses_nothing() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare_linked().await?;
    let bound = ["--requests-per-component".to_owned(), IN_FLIGHT.to_string()];
    shop.start_host_with(&bound).await?;
    shop.start_relay(&[]).await?;
    let admin = shop.anonymous()?.admin().await?;
    let rose = admin.add_flower("Rose for everybody", "150.00").await?;
    // Many customers: none of them orders more often than one may.
    let mut users = Vec::new();
    for _ in 0..20 {
        users.push(shop.anonymous()?.register().await?);
    }
    users[0].order_once_known(&rose, "pm_card_visa").await?;
    let rose: Arc<str> = rose.into();
    if let Some(id) = shop.host().and_then(|host| host.id()) {
        pin(&["-a", "-p"], "0", &id.to_string()).await;
    }

    let mut acknowledged = Vec::new();
    let mut judgement = Ok(());
    for _ in 0..TRIES {
        let mut attempt = Try::run(&shop, &users, &rose).await?;
        acknowledged.extend(attempt.acknowledged());
        judgement = attempt.judge();
        if judgement.is_ok() {
            break;
        }
    }

    // However often it was tried: everything that was acknowledged is there, and has come to its end.
    let there: i64 = shop
        .database()
        .await?
        .query_one(
            "select count(*) from ordering.orders where id = any($1) and status = 'shipping'",
            &[&acknowledged],
        )
        .await?
        .try_get(0)?;
    ensure!(
        usize::try_from(there)? == acknowledged.len(),
        "{} orders were acknowledged, {there} are there",
        acknowledged.len()
    );
    shop.expect_clean_audit().await?;
    judgement.with_context(|| format!("not once in {TRIES} tries"))
}
