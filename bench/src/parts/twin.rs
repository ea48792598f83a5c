//! What WebAssembly costs: the components beside the native twin, on the services' own ports, in the embedded host with
//! instances that serve many requests and with a fresh one for each, and in Spin where that is installed: hello, a cached
//! flower, a list, an order.

use super::contender::{Contender, take_turns};
use super::spin::Spin;
use super::stage::{drop_database, order_of, tell_of_a_flower, token};
use crate::generator::{CONNECTIONS, Connection, Target};
use crate::pace::Pace;
use crate::process::tree;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, bounds, verdict};
use crate::statistics::median;
use crate::twin::{Running, Settings, Statements};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shop_tests::shop::{JWT_KEY, free_port};
use shop_tests::topology::Topology;
use shop_tests::{Shop, eventually};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// The most connections that each side has to Postgres.
const POSTGRES_CONNECTIONS: usize = 16;

/// What spin.toml puts behind the address of a database, which the twin takes over.
const POSTGRES_OPTIONS: &str = "connect_timeout=2&options=-c%20statement_timeout%3D4000%20-c%20idle_in_transaction_session_timeout%3D5000";

/// How many orders the user has whose list is read.
const ORDERS_IN_LIST: usize = 100;

/// The same request for both sides.
struct Scenario {
    name: &'static str,
    /// To the embedded host.
    target: Target,
    /// The least and the wanted share of the twin's requests per second.
    shares: Option<(f64, f64)>,
    /// Whether the twin has statements to prepare.
    has_statements: bool,
    /// Members that differ from answer to answer.
    own_members: &'static [&'static str],
}

/// How many instances wait when their memory is measured.
const INSTANCES: usize = 100;

const REUSED: &str = "host";
const FRESH: &str = "host, fresh instances";
const IN_SPIN: &str = "Spin";
const TWIN: &str = "twin";
const CACHED: &str = "twin, statements cached";

/// Where two services answer, each by itself.
#[derive(Clone, Copy)]
struct Ports {
    catalog: SocketAddr,
    ordering: SocketAddr,
}

impl Ports {
    fn draw() -> Result<Self> {
        let port = || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], free_port()?)));
        Ok(Self {
            catalog: port()?,
            ordering: port()?,
        })
    }

    fn arguments(self) -> [String; 2] {
        let Self { catalog, ordering } = self;
        [
            format!("--service-listen=catalog={catalog}"),
            format!("--service-listen=ordering={ordering}"),
        ]
    }

    /// The same request to the same service here.
    fn at(self, target: &Target, other: Self) -> Target {
        let is_catalog = target.address == other.catalog;
        target.at(if is_catalog { self.catalog } else { self.ordering })
    }
}

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let mut shop = Shop::prepare_in(Topology::Doubled).await?;
    let (reused, fresh) = (Ports::draw()?, Ports::draw()?);
    let mut arguments = reused.arguments().to_vec();
    arguments.push(format!("--postgres-connections={POSTGRES_CONNECTIONS}"));
    shop.launch_one("host", &arguments)?;
    let mut arguments = fresh.arguments().to_vec();
    arguments.push("--fresh-instances".to_owned());
    arguments.push(format!("--postgres-connections={POSTGRES_CONNECTIONS}"));
    shop.launch_one("host-2", &arguments)?;
    shop.await_healthy().await?;
    let pids: Vec<u32> = shop.hosts().into_iter().filter_map(|host| host.id()).collect();
    let [reused_pid, fresh_pid] = pids[..] else {
        anyhow::bail!("a host has ended");
    };
    let spin = Spin::find();
    let spin_ports = Ports::draw()?;
    let spins = match &spin {
        Some(spin) => vec![
            spin.up(&shop, "catalog", spin_ports.catalog).await?,
            spin.up(&shop, "ordering", spin_ports.ordering).await?,
        ],
        None => Vec::new(),
    };
    let per_call = Running::start(&settings(&shop, Statements::PerCall)?).await?;
    let cached = Running::start(&settings(&shop, Statements::Cached)?).await?;

    let (mut table, mut figures, mut ratios) = (ratio_table(), Contender::table(), Vec::new());
    for scenario in scenarios(&shop, reused).await? {
        eprintln!("bench:   {}", scenario.name);
        let mut contenders = vec![
            Contender::new(REUSED, scenario.target.clone(), reused_pid),
            Contender::new(FRESH, fresh.at(&scenario.target, reused), fresh_pid),
            scenario.twin(TWIN, &per_call),
        ];
        if scenario.has_statements {
            contenders.push(scenario.twin(CACHED, &cached));
        }
        if let Some(running) = spins.first() {
            let mut pids = running.pids()?;
            for other in spins.iter().skip(1) {
                pids.extend(other.pids()?);
            }
            let target = spin_ports.at(&scenario.target, reused);
            contenders.push(Contender::of_several(IN_SPIN, target, pids));
        }
        for contender in &contenders {
            scenario.check_same_answer(&contender.target).await?;
        }
        shop.database().await?.batch_execute("checkpoint").await?;
        take_turns(scenario.name, &mut contenders, pace).await?;
        ratios.extend(add_rows(&scenario, &contenders, &mut table, &mut figures));
    }
    drop((per_call, cached, spins));
    shop.stop_host().await?;
    let memory = memory_of_instances(&mut shop).await?;
    drop_database(&shop).await?;
    Ok(Section {
        text: explanation(pace, spin.as_ref(), memory),
        tables: vec![table, figures],
        ratios,
    })
}

fn settings(shop: &Shop, statements: Statements) -> Result<Settings> {
    let mut database = shop.login_url("ordering");
    database.set_query(Some(POSTGRES_OPTIONS));
    let variables = shop.variables()?;
    let text = |name| variables.get(name).and_then(toml::Value::as_str);
    let redis = text("redis").context("no Redis")?;
    let number = text("redis_database").context("no Redis database")?;
    Ok(Settings {
        statements,
        postgres_connections: POSTGRES_CONNECTIONS,
        database_url: database.into(),
        redis_url: format!("{redis}/{number}"),
        jwt_key: JWT_KEY.to_owned(),
    })
}

/// MiB that a host has more while so many instances of ordering are there, each waiting for Postgres, than before.
async fn memory_of_instances(shop: &mut Shop) -> Result<f64> {
    let ports = Ports::draw()?;
    let mut arguments = ports.arguments().to_vec();
    // One for each request, as none of them ends.
    arguments.push("--fresh-instances".to_owned());
    arguments.push(format!("--instances-per-component={}", INSTANCES + 1));
    arguments.push(format!("--postgres-connections={}", INSTANCES + 1));
    shop.launch_one("host", &arguments)?;
    let anybody = shop_tests::Actor::anonymous(&shop.base)?;
    let patience = Duration::from_secs(60);
    eventually("the host is healthy", patience, async || {
        Ok((anybody.get("/health").await?.json()["status"] == "healthy").then_some(()))
    })
    .await?;
    let list = Target::get(
        ports.ordering,
        "/orders?limit=1",
        Some(&token(&anybody.register().await?)?),
    )?;
    let ask = async || {
        let mut asked = JoinSet::new();
        for _ in 0..INSTANCES {
            let (list, mut connection) = (list.clone(), Connection::open(ports.ordering).await?);
            asked.spawn(async move { connection.send(&list).await });
        }
        Ok::<_, anyhow::Error>(asked)
    };
    // Once before, so that connections to Postgres and what is allocated for good count on both sides.
    for answer in ask().await?.join_all().await {
        answer.context("an instance that was made before")?;
    }
    let alive = async |count: f64| {
        let labels = [("component", "ordering")];
        let instances = shop.sample("embedded_host_instances", &labels).await?;
        Ok((instances == Some(count)).then_some(()))
    };
    eventually("no instance is left", patience, async || alive(0.0).await).await?;
    let pid = shop.host_id().context("the host has ended")?;
    let before = tree(pid)?.memory;
    let mut lock = shop.database().await?;
    let held = lock.transaction().await?;
    held.batch_execute("lock table ordering.orders in access exclusive mode")
        .await?;
    let asked = ask().await?;
    eventually("all instances are there", patience, async || {
        alive(INSTANCES as f64).await
    })
    .await?;
    let after = tree(pid)?.memory;
    held.commit().await?;
    for answer in asked.join_all().await {
        answer.context("an instance that waited")?;
    }
    shop.stop_host().await?;
    Ok((after as f64 - before as f64) / 1024.0 / 1024.0)
}

async fn scenarios(shop: &Shop, ports: Ports) -> Result<Vec<Scenario>> {
    let Ports { catalog, ordering } = ports;
    let anybody = shop.anonymous()?;
    let flowers = anybody.get("/api/catalog/flowers?limit=1").await?.expect(200)?;
    let cached = flowers["items"][0]["id"].as_str().context("no flower")?;
    let bought = tell_of_a_flower(shop, &anybody).await?;
    let (reader, buyer) = (
        token(&anybody.register().await?)?,
        token(&anybody.register().await?)?,
    );
    let order = |token: &str| Target::post(ordering, "/orders", token, &order_of(&bought));

    let mut connection = Connection::open(ordering).await?;
    for _ in 0..ORDERS_IN_LIST {
        connection.send(&order(&reader)?).await?;
    }
    shop.database().await?.batch_execute("vacuum analyze").await?;
    let flower = Target::get(catalog, &format!("/catalog/flowers/{cached}"), None)?;
    // The first of these puts it into the cache.
    Connection::open(catalog).await?.send(&flower).await?;
    Ok(vec![
        Scenario {
            name: "hello",
            target: Target::get(ordering, "/health/live", None)?,
            shares: None,
            has_statements: false,
            own_members: &[],
        },
        Scenario {
            name: "cached flower",
            target: flower,
            shares: Some((0.25, 0.35)),
            has_statements: false,
            own_members: &[],
        },
        Scenario {
            name: "list of 20 orders",
            target: Target::get(ordering, "/orders?limit=20", Some(&reader))?,
            shares: Some((0.38, 0.50)),
            has_statements: true,
            own_members: &[],
        },
        Scenario {
            name: "order",
            target: order(&buyer)?,
            shares: Some((0.50, 0.65)),
            has_statements: true,
            own_members: &["id", "created_at", "updated_at", "payment_due_at"],
        },
    ])
}

impl Scenario {
    fn twin(&self, name: &'static str, twin: &Running) -> Contender {
        Contender::new(name, self.target.at(twin.address), twin.pid)
    }

    /// Checks that a server answers what the component does: a twin that does something else proves nothing.
    async fn check_same_answer(&self, target: &Target) -> Result<()> {
        let theirs = self.answer(target).await?;
        let ours = self.answer(&self.target).await?;
        ensure!(theirs == ours, "{}: {theirs} instead of {ours}", self.name);
        Ok(())
    }

    async fn answer(&self, target: &Target) -> Result<Value> {
        let mut answer = Connection::open(target.address).await?.send_json(target).await?;
        without(&mut answer, self.own_members);
        Ok(answer)
    }
}

/// Removes the members `names` at every depth.
fn without(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !names.contains(&name.as_str()));
            members.values_mut().for_each(|member| without(member, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without(item, names)),
        _ => {}
    }
}

fn ratio_table() -> Table {
    Table::new(&[
        "",
        "host ÷ twin",
        "lowest to highest round",
        "floor",
        "kept",
        "aim",
        "reached",
        "÷ twin with cached statements",
        "fresh instances ÷ twin",
        "Spin ÷ twin",
    ])
}

fn add_rows(
    scenario: &Scenario,
    contenders: &[Contender],
    table: &mut Table,
    figures: &mut Table,
) -> Vec<Ratio> {
    let named = |name: &str| contenders.iter().find(|contender| contender.name == name);
    let shares = |of: &str, other: &str| Some(named(of)?.shares_of(named(other)?));
    let Some(main) = shares(REUSED, TWIN) else {
        return Vec::new();
    };
    let share = median(&main);
    let bound = |bound: Option<f64>| bound.map_or_else(String::new, |bound| format!("{bound:.2}"));
    let kept = |bound: Option<f64>| bound.map_or("", |bound| verdict(share >= bound)).to_owned();
    let (floor, aim) = scenario.shares.unzip();
    let middle = |of: &str, other: &str| {
        let shares = shares(of, other);
        shares.map_or_else(String::new, |shares| format!("{:.2}", median(&shares)))
    };
    table.row([
        scenario.name.to_owned(),
        format!("**{share:.2}**"),
        bounds(&main),
        bound(floor),
        kept(floor),
        bound(aim),
        kept(aim),
        middle(REUSED, CACHED),
        middle(FRESH, TWIN),
        middle(IN_SPIN, TWIN),
    ]);
    for name in [REUSED, FRESH, IN_SPIN, TWIN, CACHED] {
        if let Some(contender) = named(name) {
            contender.add_row(scenario.name, figures);
        }
    }
    // How fast Spin is, is not ours to guard.
    [(REUSED, TWIN), (REUSED, CACHED), (FRESH, TWIN)]
        .into_iter()
        .filter_map(|(of, other)| {
            let name = format!("{}: {of} ÷ {other}", scenario.name);
            Some(Ratio::new(name, Better::Higher, &shares(of, other)?))
        })
        .collect()
}

fn explanation(pace: &Pace, spin: Option<&Spin>, memory: f64) -> String {
    let spin = spin.map_or("Spin is not installed on this machine", |spin| {
        spin.version.as_str()
    });
    format!(
        "On the service's own port, {CONNECTIONS} keep-alive connections in a closed loop, {} runs of {} s (after {} s \
         that do not count) in turns; medians. The generator uses the same cores, which flatters the slower side of \
         the ratio in `hello`; CPU per request is that of the serving process alone, without Postgres and Redis.\n\n\
         The twin (`bench/src/twin`) is axum with the same SQL files, the same domain crate, the same Redis values and \
         as many Postgres connections ({POSTGRES_CONNECTIONS}); both give the same JSON, which is checked before. It \
         prepares each statement for each call, as `spin:postgres` does; one column compares with one that \
         prepares once per connection, which Spin's interface does not offer. The host also resets a connection that \
         comes out of its pool, as Spin does; the twin does not.\n\n\
         `host` is the embedded host as it runs, an instance for up to 128 requests, 16 at a time, as in Spin; `fresh \
         instances` is the same with one for each request. {spin}. {INSTANCES} instances of ordering that wait for \
         Postgres have {memory:.0} MiB.",
        pace.rounds,
        pace.run.as_secs_f64(),
        pace.warm_up.as_secs_f64(),
    )
}
