//! What is to happen in a story, drawn from its seed before it begins: who wants what and when, what goes wrong and when,
//! and on which terms. All that is left to the dice is who goes on when several could.

use crate::world::{MILLI, Micros, SECOND};
use contracts::PaymentMethod;
use delivery::domain::{Arrival, Shipping, Terms as Delivering};
use std::fmt;
use std::time::Duration;

/// How the shop and its world are.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many bridges run.
    pub bridges: usize,
    /// The most rows of a window.
    pub window: usize,
    /// The most deliveries of a queue that a shuttle has in memory.
    pub prefetch: usize,
    /// How long ordering waits for the money.
    pub patience: Duration,
    pub delivery: Delivering,
    /// How many there are of each flower.
    pub stock: i32,
    /// How often in a thousand times a call is lost, its answer, a statement's transaction, or a message nacked.
    pub lost_calls: u64,
    pub lost_answers: u64,
    pub contention: u64,
    pub nacks: u64,
    /// How often a message takes its time.
    pub slow: u64,
}

/// What somebody wants. Orders are named by the number of the command that places them.
#[derive(Clone, Debug)]
pub enum Command {
    Place {
        number: usize,
        /// Products by their number, and how many of each.
        cart: Vec<(usize, i64)>,
        method: PaymentMethod,
        keyed: bool,
        /// Sent twice at about the same time.
        twice: bool,
    },
    Cancel {
        order: usize,
    },
    Pay {
        order: usize,
        number: usize,
        method: Option<PaymentMethod>,
        keyed: bool,
        twice: bool,
    },
    /// An admin has it shipped.
    Ship {
        order: usize,
    },
    /// A courier says what became of it.
    Deliver {
        order: usize,
    },
    Fail {
        order: usize,
    },
    /// An admin corrects the stock of a flower.
    Correct {
        flower: usize,
        by: i64,
    },
    /// An admin changes the price of a flower.
    Reprice {
        flower: usize,
        minor: i64,
    },
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A process dies, and is started again after so long.
    Kill { process: usize, down: Micros },
    /// A process is stopped for so long, and does not notice.
    Pause { process: usize, time: Micros },
    /// A bridge loses the channel that consumes a queue: of those that have something in hand, if any has.
    LoseConsumer { bridge: usize, queue: usize },
    /// A bridge loses the connection that it publishes over.
    LosePublishers { bridge: usize },
    /// Something in a queue comes again.
    Repeat { queue: usize },
    /// A queue gives out nothing for so long, and what it holds then in another order.
    Shuffle { queue: usize, time: Micros },
    /// An event cannot always be routed for so long.
    Unroutable { event: &'static str, time: Micros },
    /// The databases are down for so long.
    Outage { time: Micros },
    /// All clocks on the wall are set forward.
    Jump { by: Micros },
    /// Everything is stopped, and started again after so long.
    Sleep { time: Micros },
}

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// What decides who goes on.
    pub dice: u64,
    pub terms: Terms,
    pub commands: Vec<(Micros, Command)>,
    pub faults: Vec<(Micros, Fault)>,
}

/// Events that one queue takes: without it they come back.
const RETURNABLE: [&str; 6] = [
    "PaymentCompleted",
    "PaymentFailed",
    "StockReserved",
    "OrderPaid",
    "ShipmentCreated",
    "OrderCompleted",
];

/// How long it takes until all that is planned has begun.
const BUSY: Micros = 600 * MILLI;

struct Dice(fastrand::Rng);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.u64(0..bound.max(1))
    }

    fn index(&mut self, bound: usize) -> usize {
        self.0.usize(0..bound.max(1))
    }

    fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }
}

impl Plan {
    /// The plan of this seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let terms = terms(&mut dice);
        let commands = commands(&mut dice, terms);
        let faults = faults(&mut dice, terms);
        Self {
            seed,
            dice: dice.below(u64::MAX),
            terms,
            commands,
            faults,
        }
    }
}

fn terms(dice: &mut Dice) -> Terms {
    let is_rough = dice.happens(600);
    let mut rate = |most: u64| if is_rough { dice.below(most) } else { 0 };
    let (lost_calls, lost_answers) = (rate(20), rate(30));
    let (contention, nacks) = (rate(40), rate(60));
    let shipping = if dice.happens(800) {
        Shipping::Automatic
    } else {
        Shipping::OnRequest
    };
    let arrival = if dice.happens(300) {
        Arrival::After(Duration::from_secs(dice.below(120)))
    } else {
        Arrival::Told
    };
    Terms {
        bridges: if dice.happens(150) { 2 } else { 1 },
        window: dice.one_of(&[1, 2, 4, 16]),
        prefetch: dice.one_of(&[2, 4, 16, 64]),
        patience: Duration::from_millis(dice.one_of(&[100, 400, 1_500, 900_000, 900_000])),
        delivery: Delivering { shipping, arrival },
        stock: dice.one_of(&[1, 3, 6, 20]),
        lost_calls,
        lost_answers,
        contention,
        nacks,
        slow: dice.one_of(&[5, 50, 50, 250]),
    }
}

fn commands(dice: &mut Dice, terms: Terms) -> Vec<(Micros, Command)> {
    let mut commands = Vec::new();
    let orders = 1 + dice.index(3);
    for number in 0..orders {
        let lines = 1 + dice.index(2);
        let first = dice.index(3);
        let line = |line: usize| (first + line) % 3;
        let cart = (0..lines)
            .map(|number| (line(number), 1 + i64::from(number == 0)))
            .collect();
        let method = dice.one_of(&[
            PaymentMethod::Visa,
            PaymentMethod::Visa,
            PaymentMethod::Visa,
            PaymentMethod::ChargeDeclined,
            PaymentMethod::Slow,
            PaymentMethod::Flaky,
        ]);
        let at = dice.below(BUSY / 3);
        commands.push((
            at,
            Command::Place {
                number,
                cart,
                method,
                keyed: dice.happens(500),
                twice: dice.happens(200),
            },
        ));
        if dice.happens(400) {
            let order = number;
            commands.push((at + dice.below(BUSY), Command::Cancel { order }));
        }
        let pays = match method {
            PaymentMethod::ChargeDeclined => 800,
            _ => 150,
        };
        if dice.happens(pays) {
            let method = dice.happens(700).then_some(PaymentMethod::Visa);
            let pay = Command::Pay {
                order: number,
                number: commands.len(),
                method: method.or_else(|| dice.happens(500).then_some(PaymentMethod::Flaky)),
                keyed: dice.happens(500),
                twice: dice.happens(300),
            };
            commands.push((at + dice.below(2 * BUSY), pay));
        }
        if terms.delivery.shipping == Shipping::OnRequest || dice.happens(100) {
            commands.push((at + BUSY / 2 + dice.below(BUSY), Command::Ship { order: number }));
        }
        if dice.happens(500) {
            commands.push((
                at + BUSY / 2 + dice.below(BUSY),
                Command::Deliver { order: number },
            ));
        }
        if dice.happens(150) {
            commands.push((at + BUSY / 2 + dice.below(BUSY), Command::Fail { order: number }));
        }
    }
    if dice.happens(150) {
        let (flower, by) = (dice.index(2), dice.one_of(&[-2, -1, 1, 3]));
        commands.push((dice.below(BUSY), Command::Correct { flower, by }));
    }
    if dice.happens(100) {
        let minor = 100 * (1 + i64::try_from(dice.below(50)).unwrap_or_default());
        let flower = dice.index(2);
        commands.push((dice.below(BUSY), Command::Reprice { flower, minor }));
    }
    commands.sort_by_key(|(at, _)| *at);
    commands
}

fn faults(dice: &mut Dice, terms: Terms) -> Vec<(Micros, Fault)> {
    let count = dice.one_of(&[0, 1, 1, 2, 2, 3, 5]);
    let mut faults: Vec<(Micros, Fault)> = (0..count)
        .map(|_| (dice.below(2 * BUSY), fault(dice, terms)))
        .collect();
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn fault(dice: &mut Dice, terms: Terms) -> Fault {
    let process = dice.index(4 + terms.bridges);
    let bridge = dice.index(terms.bridges);
    let queue = dice.index(11);
    let while_ = dice.one_of(&[5 * MILLI, 50 * MILLI, 400 * MILLI, 3 * SECOND]);
    match dice.below(100) {
        0..32 => Fault::Kill {
            process,
            down: while_,
        },
        32..42 => Fault::Pause {
            process,
            time: dice.one_of(&[50 * MILLI, SECOND, 9 * SECOND, 15 * SECOND]),
        },
        42..52 => Fault::LoseConsumer { bridge, queue },
        52..60 => Fault::LosePublishers { bridge },
        60..70 => Fault::Repeat { queue },
        70..80 => Fault::Shuffle { queue, time: while_ },
        80..88 => Fault::Unroutable {
            event: dice.one_of(&RETURNABLE),
            time: dice.one_of(&[400 * MILLI, 3 * SECOND]),
        },
        88..91 => Fault::Outage { time: while_ },
        91..96 => Fault::Jump {
            by: dice.one_of(&[SECOND, 60 * SECOND, 900 * SECOND]),
        },
        _ => Fault::Sleep {
            time: dice.one_of(&[SECOND, 60 * SECOND, 1000 * SECOND]),
        },
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = |keyed: &bool, twice: &bool| {
            let keyed = if *keyed { ", with a key" } else { "" };
            let twice = if *twice { ", twice" } else { "" };
            format!("{keyed}{twice}")
        };
        match self {
            Self::Place {
                number,
                cart,
                method,
                keyed,
                twice,
            } => write!(
                formatter,
                "place {number}: {cart:?} by {}{}",
                method.as_str(),
                sent(keyed, twice)
            ),
            Self::Cancel { order } => write!(formatter, "cancel {order}"),
            Self::Pay {
                order,
                method,
                keyed,
                twice,
                ..
            } => write!(
                formatter,
                "pay {order} by {}{}",
                method.map_or("its own method", PaymentMethod::as_str),
                sent(keyed, twice)
            ),
            Self::Ship { order } => write!(formatter, "ship {order}"),
            Self::Deliver { order } => write!(formatter, "deliver {order}"),
            Self::Fail { order } => write!(formatter, "fail to deliver {order}"),
            Self::Correct { flower, by } => write!(formatter, "correct the stock of flower {flower} by {by}"),
            Self::Reprice { flower, minor } => write!(formatter, "have flower {flower} cost {minor}"),
        }
    }
}
