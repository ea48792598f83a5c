//! What it is worth that a call from one component to another stays in the process: the shop in one process beside the
//! shop as a process for each service, through the gateway.

use super::contender::{Contender, take_turns};
use super::stage::{address, drop_database, order_of, tell_of_a_flower, token};
use crate::generator::{CONNECTIONS, Connection, Target};
use crate::pace::Pace;
use crate::report::{Section, Table, bounds};
use crate::statistics::median;
use anyhow::{Context as _, Result, ensure};
use shop_tests::Shop;
use shop_tests::topology::Topology;

const TOGETHER: &str = "together";
const SPLIT: &str = "split";

/// A running shop without a relay, and what is asked of it.
struct Side {
    name: &'static str,
    shop: Shop,
    pids: Vec<u32>,
    /// By the names of the scenarios.
    targets: Vec<(&'static str, Target)>,
}

impl Side {
    async fn start(name: &'static str, topology: Topology) -> Result<Self> {
        let mut shop = Shop::prepare_in(topology).await?;
        shop.start_host().await?;
        let pids = shop.hosts().into_iter().filter_map(|host| host.id()).collect();
        let (gateway, anybody) = (address(&shop.base)?, shop.anonymous()?);
        let flowers = anybody.get("/api/catalog/flowers?limit=1").await?.expect(200)?;
        let flower = flowers["items"][0]["id"].as_str().context("no flower")?;
        let token = token(&anybody.register().await?)?;
        let cached = Target::get(gateway, &format!("/api/catalog/flowers/{flower}"), None)?;
        Connection::open(gateway).await?.send(&cached).await?;
        let bought = match topology {
            // There is no listener for all services.
            Topology::Split => tell_of_a_flower_at(&shop).await?,
            Topology::Together | Topology::Doubled => tell_of_a_flower(&shop, &anybody).await?,
        };
        let order = Target::post(gateway, "/api/orders", &token, &order_of(&bought))?;
        Ok(Self {
            name,
            shop,
            pids,
            targets: vec![("cached flower", cached), ("order", order)],
        })
    }

    fn contender(&self, index: usize) -> Result<Contender> {
        let (_, target) = self.targets.get(index).context("no such scenario")?;
        Ok(Contender::of_several(
            self.name,
            target.clone(),
            self.pids.clone(),
        ))
    }
}

/// Has ordering, which is a process of its own, hear of a flower.
async fn tell_of_a_flower_at(shop: &Shop) -> Result<String> {
    let ordering = shop.base_of("ordering").context("no ordering")?;
    tell_of_a_flower(shop, &shop_tests::Actor::anonymous(&ordering)?).await
}

pub(super) async fn measure(pace: &Pace) -> Result<Section> {
    let together = Side::start(TOGETHER, Topology::Together).await?;
    let split = Side::start(SPLIT, Topology::Split).await?;
    let mut shares = Table::new(&["", "together ÷ split", "lowest to highest round"]);
    let mut figures = Contender::table();
    for (index, (scenario, _)) in together.targets.iter().enumerate() {
        eprintln!("bench:   {scenario}");
        let mut contenders = [together.contender(index)?, split.contender(index)?];
        take_turns(scenario, &mut contenders, pace).await?;
        contenders.sort_by_key(|contender| std::cmp::Reverse(contender.name));
        let [ours, theirs] = &contenders;
        ensure!(ours.name == TOGETHER, "{} instead of {TOGETHER}", ours.name);
        let share = ours.shares_of(theirs);
        shares.row([
            (*scenario).to_owned(),
            format!("**{:.2}**", median(&share)),
            bounds(&share),
        ]);
        ours.add_row(scenario, &mut figures);
        theirs.add_row(scenario, &mut figures);
    }
    for mut side in [together, split] {
        side.shop.stop_host().await?;
        drop_database(&side.shop).await?;
    }
    Ok(Section {
        text: format!(
            "Through the gateway, {CONNECTIONS} keep-alive connections in a closed loop, {} runs of {} s in turns. \
             Together, one process serves all components and the gateway's call to a service is a call in that process; \
             split, each component has a process of its own, and the call is HTTP over loopback, on kept connections. \
             CPU per request is that of all those processes.",
            pace.rounds,
            pace.run.as_secs_f64(),
        ),
        tables: vec![shares, figures],
        // What a choice is worth: neither way is better.
        ratios: Vec::new(),
    })
}
