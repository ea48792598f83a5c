//! The components beside the native twin, on the services' own ports: hello, a cached flower, a list, an order.

use super::contender::{Contender, take_turns};
use super::stage::{drop_database, order_of, pid, tell_of_a_flower, token};
use crate::generator::{CONNECTIONS, Connection, Target};
use crate::pace::Pace;
use crate::ratios::{Better, Ratio};
use crate::report::{Section, Table, bounds, verdict};
use crate::statistics::median;
use crate::twin::{Running, Settings, Statements};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shop_tests::Shop;
use shop_tests::shop::{JWT_KEY, free_port};
use std::net::SocketAddr;

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

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let mut shop = Shop::prepare().await?;
    let catalog = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let ordering = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    shop.start_host_with(&[
        format!("--service-listen=catalog={catalog}"),
        format!("--service-listen=ordering={ordering}"),
        format!("--postgres-connections={POSTGRES_CONNECTIONS}"),
    ])
    .await?;
    let pid = pid(&mut shop)?;
    let per_call = Running::start(&settings(&shop, Statements::PerCall)?).await?;
    let cached = Running::start(&settings(&shop, Statements::Cached)?).await?;

    let (mut table, mut figures, mut ratios) = (ratio_table(), Contender::table(), Vec::new());
    for scenario in scenarios(&shop, catalog, ordering).await? {
        eprintln!("bench:   {}", scenario.name);
        let mut contenders = vec![
            Contender::new("component", scenario.target.clone(), pid),
            scenario.twin("twin", &per_call),
        ];
        if scenario.has_statements {
            contenders.push(scenario.twin("twin, statements cached", &cached));
        }
        for contender in &contenders {
            scenario.check_same_answer(&contender.target).await?;
        }
        shop.database().await?.batch_execute("checkpoint").await?;
        take_turns(scenario.name, &mut contenders, pace).await?;
        ratios.extend(add_rows(&scenario, &contenders, &mut table, &mut figures));
    }
    drop((per_call, cached));
    shop.stop_host().await?;
    drop_database(&shop).await?;
    Ok(Section {
        text: explanation(pace),
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

async fn scenarios(shop: &Shop, catalog: SocketAddr, ordering: SocketAddr) -> Result<Vec<Scenario>> {
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
        "component ÷ twin",
        "lowest to highest round",
        "floor",
        "kept",
        "aim",
        "reached",
        "÷ twin with cached statements",
    ])
}

fn add_rows(
    scenario: &Scenario,
    contenders: &[Contender],
    table: &mut Table,
    figures: &mut Table,
) -> Vec<Ratio> {
    let mut contenders: Vec<&Contender> = contenders.iter().collect();
    contenders.sort_by_key(|contender| contender.name);
    let [component, twins @ ..] = contenders.as_slice() else {
        return Vec::new();
    };
    let shares: Vec<Vec<f64>> = twins.iter().map(|twin| component.shares_of(twin)).collect();
    let Some(main) = shares.first() else {
        return Vec::new();
    };
    let share = median(main);
    let bound = |bound: Option<f64>| bound.map_or_else(String::new, |bound| format!("{bound:.2}"));
    let kept = |bound: Option<f64>| bound.map_or("", |bound| verdict(share >= bound)).to_owned();
    let (floor, aim) = scenario.shares.unzip();
    table.row([
        scenario.name.to_owned(),
        format!("**{share:.2}**"),
        bounds(main),
        bound(floor),
        kept(floor),
        bound(aim),
        kept(aim),
        shares
            .get(1)
            .map_or_else(String::new, |shares| format!("{:.2}", median(shares))),
    ]);
    for contender in contenders {
        contender.add_row(scenario.name, figures);
    }
    ["twin", "twin with cached statements"]
        .iter()
        .zip(&shares)
        .map(|(twin, shares)| Ratio::new(format!("{} ÷ {twin}", scenario.name), Better::Higher, shares))
        .collect()
}

fn explanation(pace: &Pace) -> String {
    format!(
        "On the service's own port, {CONNECTIONS} keep-alive connections in a closed loop, {} runs of {} s (after {} s \
         that do not count) in turns; medians. The generator uses the same cores, which flatters the slower side of \
         the ratio in `hello`; CPU per request is that of the serving process alone, without Postgres and Redis.\n\n\
         The twin (`bench/src/twin`) is axum with the same SQL files, the same domain crate, the same Redis values and \
         as many Postgres connections ({POSTGRES_CONNECTIONS}); both give the same JSON, which is checked before. It \
         prepares each statement for each call, as `spin:postgres` does; the last column compares with one that \
         prepares once per connection, which Spin's interface does not offer. The host also resets a connection that \
         comes out of its pool, as Spin does; the twin does not.",
        pace.rounds,
        pace.run.as_secs_f64(),
        pace.warm_up.as_secs_f64(),
    )
}
