//! What it costs that a request comes through the gateway, that it is counted there, and that it is traced.

use super::contender::{Contender, take_turns};
use super::stage::{address, drop_database, order_of, pid, tell_of_a_flower, token};
use crate::generator::{CONNECTIONS, Connection, Target};
use crate::pace::Pace;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, bounds, verdict};
use crate::statistics::median;
use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use shop_tests::Shop;
use shop_tests::shop::free_port;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Limits that are counted like any others, and that no load of ours comes near.
const LIMITS: [(&str, &str); 3] = [
    ("limit_address_requests", "100000/s"),
    ("limit_user_requests", "100000/s"),
    ("limit_user_orders", "100000/s"),
];

/// The part of the traces that is recorded.
const TRACE_RATIO: &str = "0.1";

/// A running shop without a relay.
struct Hardened {
    shop: Shop,
    pid: u32,
    /// The services' own ports.
    catalog: SocketAddr,
    ordering: SocketAddr,
    cached_flower: String,
    bought_flower: String,
    token: String,
}

/// One comparison.
struct Question {
    name: &'static str,
    /// Names of contenders.
    with: &'static str,
    without: &'static str,
    /// The least and the wanted share.
    floor: Option<f64>,
    aim: Option<f64>,
    /// What the bounds are for.
    bounded: &'static [Scenario],
}

const DIRECT: &str = "direct";
const GATEWAY: &str = "gateway";
const LIMITED: &str = "gateway, limits on";
const TRACED: &str = "gateway, traced";

const QUESTIONS: [Question; 3] = [
    Question {
        name: "gateway ÷ direct",
        with: GATEWAY,
        without: DIRECT,
        floor: Some(0.45),
        aim: Some(0.6),
        bounded: &[Scenario::CachedFlower],
    },
    Question {
        name: "limits on ÷ off",
        with: LIMITED,
        without: GATEWAY,
        floor: None,
        aim: None,
        bounded: &[],
    },
    Question {
        name: "traced ÷ not traced",
        with: TRACED,
        without: GATEWAY,
        floor: Some(0.95),
        aim: None,
        bounded: &[Scenario::CachedFlower, Scenario::Order],
    },
];

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let collector = Collector::start().await?;
    let plain = Hardened::start(&[], &[]).await?;
    let limited = Hardened::start(&LIMITS, &[]).await?;
    let traced = Hardened::start(
        &[],
        &[
            format!("--otlp-endpoint={}", collector.endpoint),
            format!("--trace-ratio={TRACE_RATIO}"),
        ],
    )
    .await?;

    let (mut shares, mut figures, mut ratios) = (share_table(), Contender::table(), Vec::new());
    for scenario in [Scenario::CachedFlower, Scenario::Order] {
        let name = scenario.name();
        eprintln!("bench:   {name}");
        let mut contenders = vec![
            Contender::new(DIRECT, plain.direct(scenario)?, plain.pid),
            Contender::new(GATEWAY, plain.through_gateway(scenario)?, plain.pid),
            Contender::new(LIMITED, limited.through_gateway(scenario)?, limited.pid),
            Contender::new(TRACED, traced.through_gateway(scenario)?, traced.pid),
        ];
        plain.shop.database().await?.batch_execute("checkpoint").await?;
        take_turns(name, &mut contenders, pace).await?;
        ratios.extend(add_rows(scenario, &contenders, &mut shares, &mut figures)?);
    }
    ensure!(collector.taken.load(Ordering::Relaxed) > 0, "no span was sent");
    for hardened in [plain, limited, traced] {
        hardened.strike().await?;
    }
    Ok(Section {
        text: explanation(pace),
        tables: vec![shares, figures],
        ratios,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    CachedFlower,
    Order,
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::CachedFlower => "cached flower",
            Self::Order => "order",
        }
    }
}

impl Hardened {
    /// Starts a shop whose components are configured so, and whose host is told so.
    async fn start(variables: &[(&str, &str)], arguments: &[String]) -> Result<Self> {
        let mut shop = Shop::prepare().await?;
        shop.set_variables(variables)?;
        let catalog = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let ordering = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut all = vec![
            format!("--service-listen=catalog={catalog}"),
            format!("--service-listen=ordering={ordering}"),
        ];
        all.extend_from_slice(arguments);
        shop.start_host_with(&all).await?;
        let pid = pid(&mut shop)?;
        let anybody = shop.anonymous()?;
        let flowers = anybody.get("/api/catalog/flowers?limit=1").await?.expect(200)?;
        let cached_flower = flowers["items"][0]["id"]
            .as_str()
            .context("no flower")?
            .to_owned();
        let bought_flower = tell_of_a_flower(&shop, &anybody).await?;
        let token = token(&anybody.register().await?)?;
        let hardened = Self {
            shop,
            pid,
            catalog,
            ordering,
            cached_flower,
            bought_flower,
            token,
        };
        // The first read puts the flower into the cache.
        let target = hardened.direct(Scenario::CachedFlower)?;
        Connection::open(target.address).await?.send(&target).await?;
        Ok(hardened)
    }

    /// A request to the service's own port.
    fn direct(&self, scenario: Scenario) -> Result<Target> {
        let address = match scenario {
            Scenario::CachedFlower => self.catalog,
            Scenario::Order => self.ordering,
        };
        self.target(scenario, address, "")
    }

    fn through_gateway(&self, scenario: Scenario) -> Result<Target> {
        self.target(scenario, address(&self.shop.base)?, "/api")
    }

    fn target(&self, scenario: Scenario, address: SocketAddr, base: &str) -> Result<Target> {
        match scenario {
            Scenario::CachedFlower => Target::get(
                address,
                &format!("{base}/catalog/flowers/{}", self.cached_flower),
                None,
            ),
            Scenario::Order => Target::post(
                address,
                &format!("{base}/orders"),
                &self.token,
                &order_of(&self.bought_flower),
            ),
        }
    }

    async fn strike(mut self) -> Result<()> {
        self.shop.stop_host().await?;
        drop_database(&self.shop).await
    }
}

/// Takes spans and forgets them: what a collector does with them is not measured.
struct Collector {
    endpoint: String,
    /// Bytes that came.
    taken: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let taken: Arc<AtomicU64> = Arc::default();
        let counter = Arc::clone(&taken);
        let take = async move |body: Bytes| {
            counter.fetch_add(body.len() as u64, Ordering::Relaxed);
            "{}"
        };
        let serving = axum::serve(listener, Router::new().fallback(take));
        let task = tokio::spawn(async move {
            // It goes on until the task is ended.
            let _ = serving.await;
        });
        Ok(Self {
            endpoint,
            taken,
            task,
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn share_table() -> Table {
    Table::new(&[
        "",
        "",
        "requests/s",
        "lowest to highest round",
        "floor",
        "kept",
        "aim",
        "reached",
    ])
}

fn add_rows(
    scenario: Scenario,
    contenders: &[Contender],
    shares: &mut Table,
    figures: &mut Table,
) -> Result<Vec<Ratio>> {
    let mut ratios = Vec::new();
    let named = |name| {
        contenders
            .iter()
            .find(|contender| contender.name == name)
            .with_context(|| format!("nobody is called {name}"))
    };
    for question in &QUESTIONS {
        let rounds = named(question.with)?.shares_of(named(question.without)?);
        let share = median(&rounds);
        let is_bounded = question.bounded.contains(&scenario);
        let floor = question.floor.filter(|_| is_bounded);
        let aim = question.aim.filter(|_| is_bounded);
        let bound = |bound: Option<f64>| bound.map_or_else(String::new, |bound| format!("{bound:.2}"));
        let kept = |bound: Option<f64>| bound.map_or("", |bound| verdict(share >= bound)).to_owned();
        shares.row([
            question.name.to_owned(),
            scenario.name().to_owned(),
            format!("**{share:.2}**"),
            bounds(&rounds),
            bound(floor),
            kept(floor),
            bound(aim),
            kept(aim),
        ]);
        let name = format!("{}, {}", question.name, scenario.name());
        ratios.push(Ratio::new(name, Better::Higher, &rounds));
    }
    for name in [DIRECT, GATEWAY, LIMITED, TRACED] {
        named(name)?.add_row(scenario.name(), figures);
    }
    Ok(ratios)
}

fn explanation(pace: &Pace) -> String {
    format!(
        "The same request to the service's own port and to the gateway, {CONNECTIONS} keep-alive connections in a closed \
         loop, {} runs of {} s (after {} s that do not count) in turns; medians. *Limits on*: requests of the address, \
         requests of the user and orders of the user are counted in Redis, with bounds that are never met. *Traced*: \
         every tenth trace is recorded and sent by OTLP to a collector in the generator's process, which forgets it. \
         The three hosts (plain, limits, traced) have a database each and no relay.",
        pace.rounds,
        pace.run.as_secs_f64(),
        pace.warm_up.as_secs_f64(),
    )
}
