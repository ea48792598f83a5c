//! One story from its beginning to its end: what is planned begins when its time has come, the dice decide the rest, and
//! after every step the invariants are looked at. In the end faults stop, timers fire, and all has to come to rest.

use crate::invariants::{Invariant, Violation, check_at_rest, ends};
use crate::mutation::Mutation;
use crate::plan::{Fault, Plan};
use crate::services::ordering::Item;
use crate::world::{MILLI, Micros, Process, SECOND, Service, Shop, World};
use crate::{clients, database, relay, shuttle};
use catalog::domain::{Bouquet, BouquetItem, Flower, FlowerType, Quantity};
use contracts::{BouquetId, CategoryId, FlowerId, Money};
use ordering::domain::Product;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A story that takes longer than this does not come to rest.
const MOST_STEPS: u64 = 40_000;
/// How many flowers the shop has, and there is one bouquet of the first two.
const FLOWERS: usize = 2;

/// How a story ended.
#[derive(Clone, Debug)]
pub struct Ending {
    pub violation: Option<Violation>,
    pub steps: u64,
    /// What became of its orders and payments.
    pub ends: Vec<&'static str>,
    /// What happened, line by line, if it was to be told.
    pub story: Vec<String>,
}

/// Tells the story of a plan. Lines of it are kept if `tells`.
#[must_use]
pub fn tell(plan: &Plan, mutation: Option<Mutation>, tells: bool) -> Ending {
    let world = World::new(plan.dice, plan.terms, mutation, tells);
    let told = catch_unwind(AssertUnwindSafe(|| run(&world, plan)));
    if let Err(panic) = told {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.violate(Invariant::NothingPanics, |_| text.unwrap_or_default());
    }
    let ending = Ending {
        violation: world.violation(),
        steps: world.steps.get(),
        ends: ends(&world),
        story: world.story(),
    };
    world.end();
    ending
}

fn run(world: &Shop, plan: &Plan) {
    let stock = stock(world);
    for bridge in 0..plan.terms.bridges {
        start_bridge(world, bridge);
    }
    let begin = world.now();
    let mut commands = plan.commands.iter().peekable();
    let mut faults = plan.faults.iter().peekable();
    while !world.is_violated() {
        let now = world.now();
        while let Some((_, command)) = commands.next_if(|(at, _)| begin + at <= now) {
            clients::begin(world, command);
        }
        while let Some((_, fault)) = faults.next_if(|(at, _)| begin + at <= now) {
            befall(world, fault);
        }
        let next = [commands.peek().map(|(at, _)| at), faults.peek().map(|(at, _)| at)];
        let next = next.into_iter().flatten().min().map(|at| begin + at);
        let did = world.step(next);
        if next.is_none() && !did && world.is_calm.get() {
            break;
        }
        if next.is_none() && !world.is_calm.get() && (!did || world.now() > begin + 3 * SECOND) {
            calm(world);
        }
        if world.steps.get() > MOST_STEPS {
            world.violate(Invariant::ComesToRest, |_| "it goes on and on".to_owned());
        }
    }
    if !world.is_violated() {
        check_at_rest(world, stock);
    }
}

/// Fills the shelves. Ordering knows of all that is for sale. Gives how many flowers there are.
fn stock(world: &World) -> i64 {
    let catalog = &mut *world.catalog.borrow_mut();
    let ordering = &mut *world.ordering.borrow_mut();
    let now = world.timestamp(world.wall());
    let mut sell = |product, minor| {
        ordering.items.push(Item {
            product,
            name: String::new(),
            price: Money::rub(minor).unwrap_or(Money::ZERO),
            version: 1,
            deleted: false,
        });
    };
    for minor in [150, 200] {
        let id = FlowerId::new();
        world.name("flower", id.as_uuid());
        catalog.flowers.push(Flower {
            id,
            name: String::new(),
            description: None,
            price: Money::rub(minor).unwrap_or(Money::ZERO),
            stock_quantity: world.terms.stock,
            flower_type: FlowerType::Rose,
            image_url: None,
            version: 1,
            created_at: now,
            updated_at: now,
        });
        sell(Product::Flower(id), minor);
    }
    let parts = catalog.flowers.iter().zip(1..).filter_map(|(flower, each)| {
        let quantity = Quantity::try_from(each).ok()?;
        let flower_id = flower.id;
        Some(BouquetItem { flower_id, quantity })
    });
    let bouquet = Bouquet {
        id: BouquetId::new(),
        name: String::new(),
        description: None,
        price: Money::rub(500).unwrap_or(Money::ZERO),
        category_id: CategoryId::new(),
        items: parts.take(FLOWERS).collect(),
        image_url: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    sell(Product::Bouquet(bouquet.id), 500);
    catalog.bouquets.push(bouquet);
    catalog
        .flowers
        .iter()
        .map(|flower| i64::from(flower.stock_quantity))
        .sum()
}

fn start_bridge(world: &Shop, bridge: usize) {
    let process = Process::Bridge(bridge);
    for service in Service::ALL {
        world.spawn(process, relay::run(world.clone(), bridge, service));
    }
    for queue in shuttle::queues() {
        world.spawn(process, shuttle::run(world.clone(), bridge, queue));
    }
}

fn process(number: usize) -> Process {
    match Service::ALL.get(number) {
        Some(service) => Process::Component(*service),
        None => Process::Bridge(number - Service::ALL.len()),
    }
}

fn kill(world: &Shop, process: Process) {
    if !world.is_up(process) {
        return;
    }
    world.tell(process, |_| "dies".to_owned());
    world.kill(process);
    if matches!(process, Process::Bridge(_)) {
        lose_publishers(world, process);
        world.broker.borrow_mut().close(world, process, None);
        // The databases hear of it a little later.
        for service in Service::ALL {
            let sessions = database::common(world, service).outbox.sessions_of(process);
            world.do_later(Process::Nature, world.travel(), move |world| {
                for session in &sessions {
                    database::common_mut(world, service)
                        .outbox
                        .end_session(world, *session);
                }
                true
            });
        }
    }
}

fn start(world: &Shop, process: Process) {
    if world.is_up(process) {
        return;
    }
    world.tell(process, |_| "starts".to_owned());
    world.start(process);
    if let Process::Bridge(bridge) = process {
        start_bridge(world, bridge);
    }
}

fn lose_publishers(world: &World, process: Process) {
    if let Process::Bridge(bridge) = process {
        world.broker.borrow_mut().publisher_losses[bridge] += 1;
        for service in Service::ALL {
            database::common(world, service).outbox.wake_relays(world);
        }
    }
}

/// Has `then` happen after so long, in the world as it is then.
fn later(world: &Shop, after: Micros, then: impl Fn(&Shop) + 'static) {
    let shop = std::rc::Rc::downgrade(world);
    world.do_later(Process::Nature, after, move |_| {
        if let Some(world) = shop.upgrade() {
            then(&world);
        }
        true
    });
}

fn befall(world: &Shop, fault: &Fault) {
    if !matches!(fault, Fault::Kill { .. } | Fault::Repeat { .. }) {
        world.tell(Process::Nature, |_| format!("{fault:?}"));
    }
    match *fault {
        Fault::Kill {
            process: number,
            down,
        } => {
            let process = process(number);
            kill(world, process);
            later(world, down, move |world| start(world, process));
        }
        Fault::Pause {
            process: number,
            time,
        } => pause(world, process(number), time),
        Fault::LoseConsumer { bridge, queue } => {
            let process = Process::Bridge(bridge);
            let broker = &mut *world.broker.borrow_mut();
            let queue = broker.busy(queue);
            broker.close(world, process, Some(queue));
        }
        Fault::LosePublishers { bridge } => lose_publishers(world, Process::Bridge(bridge)),
        Fault::Repeat { queue } => world.broker.borrow_mut().repeat(world, queue),
        Fault::Shuffle { queue, time } => {
            world.broker.borrow_mut().hold(queue);
            later(world, time, move |world| {
                world.broker.borrow_mut().shuffle(world, queue)
            });
        }
        Fault::Unroutable { event, time } => {
            world.broker.borrow_mut().unroutable = Some(event);
            later(world, time, |world| world.broker.borrow_mut().unroutable = None);
        }
        Fault::Outage { time } => world.put_out(time),
        Fault::Jump { by } => {
            world.set_walls_forward(by);
            for service in Service::ALL {
                database::common(world, service).outbox.wake_relays(world);
            }
        }
        Fault::Sleep { time } => {
            let all = 0..Service::ALL.len() + world.terms.bridges;
            all.clone().for_each(|number| kill(world, process(number)));
            world.pass(time);
            for number in all {
                let after = world.below(20 * MILLI);
                later(world, after, move |world| start(world, process(number)));
            }
        }
    }
}

/// A bridge that is paused does not breathe, and a database ends the sessions of one that has not for too long.
fn pause(world: &Shop, process: Process, time: Micros) {
    if !world.is_up(process) {
        return;
    }
    world.pause(process, time);
    let Some(breath) = world.last_breath(process) else {
        return;
    };
    let end = (breath + relay::session_timeout()).saturating_sub(world.now());
    later(world, end, move |world| {
        if world.last_breath(process) == Some(breath) {
            for service in Service::ALL {
                let sessions = database::common(world, service).outbox.sessions_of(process);
                for session in sessions {
                    database::common_mut(world, service)
                        .outbox
                        .end_session(world, session);
                }
            }
        }
    });
    let until = time + world.below(50 * MILLI);
    later(world, until, move |world| {
        if !world.is_paused(process) {
            world.breathe(process);
        }
    });
}

/// Nothing goes wrong any more, and what is down is started.
fn calm(world: &Shop) {
    world.tell(Process::Nature, |_| "is calm from now on".to_owned());
    world.is_calm.set(true);
    world.broker.borrow_mut().unroutable = None;
    for number in 0..Service::ALL.len() + world.terms.bridges {
        start(world, process(number));
    }
}
