//! A shop with a long past beside one without: the relay's poll, an order, and a customer's list of orders.

use super::copies::{Owner, TOLD, Template};
use super::stage::{drop_database, order_of, pid, tell_of_a_flower, token};
use crate::generator::{CONNECTIONS, Connection, Run, Target, load};
use crate::pace::Pace;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, bounds, verdict};
use crate::statistics::median;
use anyhow::{Context as _, Result, ensure};
use shop_tests::Shop;
use shop_tests::shop::free_port;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

const POLL: &str = include_str!("../../../crates/relay/src/outbox/sql/poll.sql");

/// What the relay asks of its session.
const SESSION: &str = include_str!("../../../crates/relay/src/outbox/sql/session.sql");

/// Rows that are due in both outboxes.
const DUE: u64 = 10;

/// How many orders each customer has.
const ORDERS_OF_A_CUSTOMER: u64 = 20;

/// How much longer it may take in the shop with a past.
const AIM: f64 = 1.2;

/// Rows that are written and then marked at a time.
const BATCH: u64 = 100_000;

/// One of the two shops.
struct Side {
    shop: Shop,
    client: Client,
    pid: u32,
    order: Target,
    list: Target,
}

/// What took how long in both, in milliseconds. No ratios of single rounds: that of the medians counts.
struct Compared {
    name: &'static str,
    empty: f64,
    full: f64,
    ratios: Vec<f64>,
}

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let (mut empty, mut full) = (Side::open().await?, Side::open().await?);
    full.live(pace.past).await?;
    for side in [&mut empty, &mut full] {
        side.rest().await?;
    }
    let mut compared = polled(&empty, &full, pace.polls).await?;
    let posting = |side: &Side| side.order.clone();
    let listing = |side: &Side| side.list.clone();
    compared.push(requested("`POST /orders`", &empty, &full, posting, pace).await?);
    compared.push(requested("`GET /orders?limit=20`", &empty, &full, listing, pace).await?);
    for side in [empty, full] {
        side.close().await?;
    }
    let mut table = Table::new(&[
        "",
        "empty shop",
        "with a past",
        "ratio",
        "lowest to highest round",
        "aim",
        "reached",
    ]);
    let mut found = Vec::new();
    for Compared {
        name,
        empty,
        full,
        ratios,
    } in compared
    {
        let ratio = if ratios.is_empty() {
            full / empty
        } else {
            median(&ratios)
        };
        let rounds = if ratios.is_empty() { &[ratio][..] } else { &ratios };
        found.push(Ratio::new(name, Better::Lower, rounds));
        table.row([
            name.to_owned(),
            format!("{empty:.3}"),
            format!("{full:.3}"),
            format!("**{ratio:.2}**"),
            if ratios.is_empty() {
                String::new()
            } else {
                bounds(&ratios)
            },
            format!("≤ {AIM}"),
            verdict(ratio <= AIM).to_owned(),
        ]);
    }
    Ok(Section {
        text: format!(
            "Two shops, each with a database and a process that serves, without relays. One has {past} orders ({} of \
             each customer, with items and history) and {past} outbox rows that were written, marked as processed and \
             vacuumed; in both one customer posts and another has {ORDERS_OF_A_CUSTOMER} orders. *The poll* is \
             `poll.sql` with {DUE} rows due, the median of {} in turns: *seen by the relay* includes the way to Postgres \
             and back, *inside Postgres* is what `explain analyze` says of execution. Requests go to ordering's own \
             port, {CONNECTIONS} connections in a closed loop, {} runs of {} s in turns. All times are in milliseconds, \
             of a request the time in which one is answered (1000 ÷ requests/s).",
            ORDERS_OF_A_CUSTOMER,
            pace.polls,
            pace.rounds,
            pace.run.as_secs_f64(),
            past = pace.past,
        ),
        tables: vec![table],
        ratios: found,
    })
}

impl Side {
    /// A shop with a customer who has orders, and one who is to post some.
    async fn open() -> Result<Self> {
        let mut shop = Shop::prepare().await?;
        let ordering = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        shop.start_host_with(&[format!("--service-listen=ordering={ordering}")])
            .await?;
        let anybody = shop.anonymous()?;
        let flower = tell_of_a_flower(&shop, &anybody).await?;
        let reader = token(&anybody.register().await?)?;
        let buyer = token(&anybody.register().await?)?;
        let post = |token: &str| Target::post(ordering, "/orders", token, &order_of(&flower));
        let mut connection = Connection::open(ordering).await?;
        for _ in 0..ORDERS_OF_A_CUSTOMER {
            connection.send(&post(&reader)?).await?;
        }
        Ok(Self {
            client: shop.database().await?,
            pid: pid(&mut shop)?,
            order: post(&buyer)?,
            list: Target::get(ordering, "/orders?limit=20", Some(&reader))?,
            shop,
        })
    }

    /// Gives it a past: orders of other customers, and outbox rows that were published.
    async fn live(&mut self, past: u64) -> Result<()> {
        let mut connection = Connection::open(self.order.address).await?;
        let placed = connection.send_json(&self.order).await?;
        let order = placed["id"].as_str().context("an order without id")?;
        let template = Template::find(&self.client, order).await?;
        let owner = Owner::Others(ORDERS_OF_A_CUSTOMER);
        template.copy(&mut self.client, past, &TOLD, owner).await?;
        let mut left = past;
        while left > 0 {
            let batch = left.min(BATCH);
            self.insert(batch).await?;
            self.mark().await?;
            left -= batch;
        }
        Ok(())
    }

    /// Leaves nothing to do for the servers, and a few rows to be polled.
    async fn rest(&mut self) -> Result<()> {
        self.mark().await?;
        self.insert(DUE).await?;
        for statement in ["vacuum analyze", "checkpoint", SESSION] {
            self.client.batch_execute(statement).await?;
        }
        Ok(())
    }

    async fn insert(&self, rows: u64) -> Result<()> {
        let statement = include_str!("sql/outbox_rows.sql");
        let (rows, due_in, body) = (i64::try_from(rows)?, 0.0, 500_i64);
        self.client
            .execute(statement, &[&rows, &rows, &due_in, &"order.created", &body])
            .await?;
        Ok(())
    }

    async fn mark(&self) -> Result<()> {
        let mark = "update ordering.outbox_messages set processed_at = now() where processed_at is null";
        self.client.execute(mark, &[]).await?;
        Ok(())
    }

    async fn close(mut self) -> Result<()> {
        self.shop.stop_host().await?;
        drop(self.client);
        drop_database(&self.shop).await
    }
}

/// The polls of both outboxes.
async fn polled(empty: &Side, full: &Side, count: usize) -> Result<Vec<Compared>> {
    let mut of_empty = Polls::prepare(&empty.client).await?;
    let mut of_full = Polls::prepare(&full.client).await?;
    for _ in 0..count {
        of_empty.poll(&empty.client).await?;
        of_full.poll(&full.client).await?;
    }
    let compare = |name, figure: fn(&Polls) -> &Vec<f64>| Compared {
        name,
        empty: median(figure(&of_empty)),
        full: median(figure(&of_full)),
        ratios: Vec::new(),
    };
    Ok(vec![
        compare("the poll, seen by the relay", |polls| &polls.seen),
        compare("the poll, inside Postgres", |polls| &polls.inside),
    ])
}

/// A request under load, to both shops.
async fn requested(
    name: &'static str,
    empty: &Side,
    full: &Side,
    target: impl Fn(&Side) -> Target,
    pace: &Pace,
) -> Result<Compared> {
    eprintln!("bench:   {name}");
    let (mut of_empty, mut of_full) = (Vec::new(), Vec::new());
    for round in 0..pace.rounds {
        // None of the two always follows the other.
        for is_full in [round % 2 == 0, round % 2 == 1] {
            let (side, times) = if is_full {
                (full, &mut of_full)
            } else {
                (empty, &mut of_empty)
            };
            let run: Run = load(target(side), vec![side.pid], pace.warm_up, pace.run).await?;
            times.push(1000.0 / run.rate());
        }
    }
    Ok(Compared {
        name,
        empty: median(&of_empty),
        full: median(&of_full),
        ratios: of_full
            .iter()
            .zip(&of_empty)
            .map(|(full, empty)| full / empty)
            .collect(),
    })
}

/// The polls of one outbox.
struct Polls {
    poll: Statement,
    explain: Statement,
    /// In milliseconds.
    seen: Vec<f64>,
    inside: Vec<f64>,
}

impl Polls {
    async fn prepare(client: &Client) -> Result<Self> {
        let sql = POLL.replace("{schema}", "ordering");
        let explain = format!("explain (analyze, timing off, format json) {sql}");
        Ok(Self {
            poll: client.prepare(&sql).await?,
            explain: client.prepare(&explain).await?,
            seen: Vec::new(),
            inside: Vec::new(),
        })
    }

    /// As a relay asks that holds every partition, has nothing in flight and begins at the very start.
    async fn poll(&mut self, client: &Client) -> Result<()> {
        let (ours, in_flight): (Vec<i32>, Vec<i64>) = ((0..64).collect(), Vec::new());
        let parameters: [&(dyn ToSql + Sync); 9] = [
            &256_i64,
            &8_388_608_i64,
            &1_048_574_i32,
            &true,
            &ours,
            &in_flight,
            &SystemTime::UNIX_EPOCH,
            &0_i64,
            &256_i64,
        ];
        let started = Instant::now();
        let rows = client.query(&self.poll, &parameters).await?;
        self.seen.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(rows.len() as u64 == DUE, "the poll gives {} rows", rows.len());
        let plan: serde_json::Value = client.query_one(&self.explain, &parameters).await?.try_get(0)?;
        let time = plan[0]["Execution Time"].as_f64();
        self.inside.push(time.context("explain tells no time")?);
        Ok(())
    }
}
