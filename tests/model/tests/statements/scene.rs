//! A scene, drawn from a seed: what was done before, and two calls that meet. Nobody makes the calls up: they are those
//! that the use cases come to, of events and requests that are drawn at random, on what the model has stored. So they
//! have the versions that were loaded, and what is done between load and store makes them stale.

use fastrand::Rng;
use serde_json::Value;
use service::StoreError;
use service::database::Database;
use shop_model::Stage;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::rc::Rc;
use uuid::Uuid;

/// What a call is answered, as far as it can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Given(String),
    /// Orders as they stand, by their ids, and events that were handled before.
    Opened(BTreeMap<Uuid, String>, BTreeSet<Uuid>),
    /// A constraint refused it. Which one is first to do so is nobody's promise.
    Constraint,
    /// Work began under the key, and there is no answer yet.
    Begun,
    /// It is to be asked again: two transactions met.
    Contention,
    /// It is to be asked again: the request is being worked on.
    InFlight,
}

impl Answer {
    pub(crate) fn of<T>(result: Result<T, StoreError>, given: impl FnOnce(T) -> Self) -> Self {
        match result {
            Ok(value) => given(value),
            Err(StoreError::Contention) => Self::Contention,
            Err(StoreError::Constraint(_)) => Self::Constraint,
            Err(error) => Self::Given(format!("failed: {error}")),
        }
    }

    pub(crate) fn given(value: &impl Debug) -> Self {
        Self::Given(format!("{value:?}"))
    }

    pub(crate) fn sorted<T: Ord + Debug>(mut values: Vec<T>) -> Self {
        values.sort();
        Self::given(&values)
    }

    /// Whether it is to be asked again.
    pub(crate) fn is_again(&self) -> bool {
        matches!(self, Self::Contention | Self::InFlight)
    }
}

/// One service: its ports on Postgres, and on the model.
pub(crate) trait Side: Sized {
    /// A call of a port that persists something.
    type Call: Clone + Debug;
    /// What its scenes are about.
    type Things;
    /// What somebody wants of the service.
    type Intent: Clone;

    const SCHEMA: &'static str;
    /// What is in its tables.
    const TABLES: &'static str;
    /// Its tables, in an order in which they can be emptied.
    const EMPTIED: &'static [&'static str];

    fn things(random: &mut Rng) -> Self::Things;
    /// What is done before everything else.
    fn setup(things: &Self::Things, random: &mut Rng) -> Vec<Self::Call>;
    fn intent(things: &mut Self::Things, stage: &Stage, random: &mut Rng) -> Self::Intent;
    /// Has the use case do what is wanted. It finds the stage as it is, and its calls go by way of `tape`.
    fn pursue(stage: &Stage, intent: Self::Intent, tape: Tape<Self::Call>, random: &mut Rng);
    /// The call, as if it had been decided on the next version.
    fn raised(call: &Self::Call) -> Option<Self::Call>;
    /// The idempotency key that only one of two calls at once gets.
    fn key(call: &Self::Call) -> Option<String>;

    async fn on_postgres(database: &Database, call: &Self::Call) -> Answer;
    fn on_model(stage: &Stage, call: Self::Call) -> impl Future<Output = Answer> + 'static;
    fn tables(stage: &Stage) -> Value;
}

/// Keeps the calls of a use case. So many of them are let through, the next one ends it.
pub(crate) struct Tape<C> {
    calls: Rc<RefCell<Vec<C>>>,
    through: Rc<Cell<usize>>,
    ended: Rc<Cell<bool>>,
}

impl<C> Clone for Tape<C> {
    fn clone(&self) -> Self {
        Self {
            calls: self.calls.clone(),
            through: self.through.clone(),
            ended: self.ended.clone(),
        }
    }
}

impl<C> Tape<C> {
    fn new(through: usize) -> Self {
        Self {
            calls: Rc::default(),
            through: Rc::new(Cell::new(through)),
            ended: Rc::default(),
        }
    }

    pub(crate) fn keep(&self, call: C) -> Result<(), StoreError> {
        if self.ended.get() {
            return Err(StoreError::Unavailable("the tape has ended".to_owned()));
        }
        self.calls.borrow_mut().push(call);
        match self.through.get().checked_sub(1) {
            Some(left) => {
                self.through.set(left);
                Ok(())
            }
            None => {
                self.ended.set(true);
                Err(StoreError::Unavailable("the tape ends".to_owned()))
            }
        }
    }

    /// What was let through, and the call that was not.
    fn taken(self) -> (Vec<C>, Option<C>) {
        let mut calls = self.calls.take();
        let last = self.ended.get().then(|| calls.pop()).flatten();
        (calls, last)
    }
}

/// Something that was done before two calls meet.
#[derive(Clone, Debug)]
pub(crate) enum Step<C> {
    Call(C),
    /// A day passes: no idempotency key is known any more.
    Day,
}

pub(crate) struct Scene<S: Side> {
    pub(crate) seed: u64,
    pub(crate) before: Vec<Step<S::Call>>,
    pub(crate) first: S::Call,
    pub(crate) second: S::Call,
    /// Whether the second was decided on what the first stores: then it never begins before that is committed.
    pub(crate) follows: bool,
}

/// Calls of which a use case may have so many before the one that meets another.
const THROUGH: [usize; 6] = [0, 0, 0, 1, 1, 2];

impl<S: Side> Scene<S> {
    pub(crate) fn draw(seed: u64) -> Self {
        let random = &mut Rng::with_seed(seed);
        let stage = Stage::new(seed, None);
        let mut things = S::things(random);
        let mut before = Vec::new();
        for call in S::setup(&things, random) {
            stage.run(S::on_model(&stage, call.clone()));
            before.push(Step::Call(call));
        }
        let steps = if random.bool() { 0 } else { random.usize(1..8) };
        for _ in 0..steps {
            if random.u8(0..20) == 0 {
                stage.pass_a_day();
                before.push(Step::Day);
            }
            let intent = S::intent(&mut things, &stage, random);
            let tape = Tape::new(usize::MAX);
            S::pursue(&stage, intent, tape.clone(), random);
            before.extend(tape.taken().0.into_iter().map(Step::Call));
        }
        let mut draft = Draft::<S> {
            stage,
            things,
            before,
        };
        let (intent, first) = loop {
            let intent = S::intent(&mut draft.things, &draft.stage, random);
            let through = THROUGH[random.usize(..THROUGH.len())];
            if let Some(call) = draft.call(intent.clone(), through, random) {
                break (intent, call);
            }
        };
        let again = random.u8(0..100);
        let raised = S::raised(&first).filter(|_| again < 12);
        let follows = raised.is_some();
        let second = match again {
            _ if follows => raised,
            // The same again: an event that comes twice, a double click.
            0..60 => draft.call(intent, 0, random),
            _ => None,
        };
        let second = second.or_else(|| {
            (0..20).find_map(|_| {
                let intent = S::intent(&mut draft.things, &draft.stage, random);
                let through = THROUGH[random.usize(..THROUGH.len())];
                draft.call(intent, through, random)
            })
        });
        Self {
            seed,
            before: draft.before,
            second: second.unwrap_or_else(|| first.clone()),
            first,
            follows,
        }
    }

    /// Whether they name the same idempotency key.
    pub(crate) fn share_a_key(&self) -> bool {
        let key = S::key(&self.first);
        key.is_some() && key == S::key(&self.second)
    }
}

struct Draft<S: Side> {
    stage: Stage,
    things: S::Things,
    before: Vec<Step<S::Call>>,
}

impl<S: Side> Draft<S> {
    /// A call that a use case comes to. So many that it makes earlier are done.
    fn call(&mut self, intent: S::Intent, through: usize, random: &mut Rng) -> Option<S::Call> {
        let tape = Tape::new(through);
        S::pursue(&self.stage, intent, tape.clone(), random);
        let (done, call) = tape.taken();
        self.before.extend(done.into_iter().map(Step::Call));
        call
    }
}
