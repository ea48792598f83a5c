//! Plays a scene: on the model, and on Postgres in two sessions, in every order that two sessions can have; and holds
//! against each other what both calls are answered and what is in the tables then.

use crate::ground::{Ground, Waits};
use crate::scene::{Answer, Scene, Side, Step};
use serde_json::Value;
use service::Database;
use shop_model::{Mutation, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// How two calls meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meeting {
    /// The second begins when the first is over.
    InTurn,
    /// The second begins once the first has run its statement, and then the first commits.
    BeforeTheCommit,
    /// The same, and the first is rolled back.
    BeforeTheRollback,
    /// The second has its snapshot, and has done nothing else, when the first begins and commits.
    OlderSnapshot,
    /// As the server has it.
    AtOnce,
}

impl Meeting {
    pub(crate) const ALL: [Self; 5] = [
        Self::InTurn,
        Self::BeforeTheCommit,
        Self::BeforeTheRollback,
        Self::OlderSnapshot,
        Self::AtOnce,
    ];
}

/// What both calls came to.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    first: Answer,
    second: Answer,
    tables: Value,
}

/// All that the model has to say of a scene.
struct Foretold {
    before: Vec<Answer>,
    tables_before: Value,
    /// The first, then the second; and the other way round.
    in_turn: Outcome,
    turned: Outcome,
    after_first: Value,
    after_second: Value,
    /// What the second is answered while the first is open, if it does not wait.
    meanwhile: Option<Answer>,
}

/// How often something was seen.
pub(crate) type Tally = BTreeMap<&'static str, u64>;

/// The model, once all that came before is done.
fn stage<S: Side>(scene: &Scene<S>, mutation: Option<Mutation>) -> (Stage, Vec<Answer>) {
    let stage = Stage::new(scene.seed, mutation);
    let mut answers = Vec::new();
    for step in &scene.before {
        match step {
            Step::Call(call) => answers.push(stage.run(S::on_model(&stage, call.clone()))),
            Step::Day => stage.pass_a_day(),
        }
    }
    (stage, answers)
}

fn foretell<S: Side>(scene: &Scene<S>, mutation: Option<Mutation>) -> Foretold {
    let tables = |stage: &Stage| sorted(S::tables(stage));
    let (here, before) = stage(scene, mutation);
    let tables_before = tables(&here);
    let first = here.run(S::on_model(&here, scene.first.clone()));
    let after_first = tables(&here);
    let second = here.run(S::on_model(&here, scene.second.clone()));
    let in_turn = Outcome {
        first,
        second,
        tables: tables(&here),
    };
    drop(here);
    let (here, _) = stage(scene, mutation);
    let second = here.run(S::on_model(&here, scene.second.clone()));
    let after_second = tables(&here);
    let first = here.run(S::on_model(&here, scene.first.clone()));
    let turned = Outcome {
        first,
        second,
        tables: tables(&here),
    };
    drop(here);
    let (here, _) = stage(scene, mutation);
    let first = S::on_model(&here, scene.first.clone());
    let second = S::on_model(&here, scene.second.clone());
    let meanwhile = here.run_while_open(first, second);
    Foretold {
        before,
        tables_before,
        in_turn,
        turned,
        after_first,
        after_second,
        meanwhile,
    }
}

/// Lists of rows in one order. Those of an ordering key have theirs.
fn sorted(mut tables: Value) -> Value {
    fn text(value: &Value) -> String {
        match value {
            Value::Object(fields) => {
                let fields: BTreeMap<_, _> = fields.iter().map(|(key, value)| (key, text(value))).collect();
                format!("{fields:?}")
            }
            other => other.to_string(),
        }
    }
    for table in tables
        .as_object_mut()
        .into_iter()
        .flat_map(|tables| tables.values_mut())
    {
        if let Some(rows) = table.as_array_mut() {
            rows.sort_by_key(text);
        }
    }
    tables
}

/// A scene that is played, in one of its meetings.
struct Play<'a, S: Side> {
    ground: &'a Ground,
    scene: &'a Scene<S>,
    foretold: &'a Foretold,
    tally: &'a mut Tally,
}

/// Plays a scene in all its meetings.
///
/// # Errors
/// Says where model and Postgres disagree.
pub(crate) async fn play<S: Side>(
    ground: &Ground,
    scene: &Scene<S>,
    mutation: Option<Mutation>,
    tally: &mut Tally,
) -> Result<(), String> {
    let foretold = foretell(scene, mutation);
    if foretold.in_turn.second != foretold.turned.second {
        *tally.entry("raced").or_default() += 1;
    }
    for meeting in Meeting::ALL {
        if scene.follows && meeting != Meeting::InTurn {
            continue;
        }
        let mut play = Play {
            ground,
            scene,
            foretold: &foretold,
            tally,
        };
        play.run(meeting).await.map_err(|why| {
            let mut text = format!("seed {}, {meeting:?}\n", scene.seed);
            for step in &scene.before {
                let _ = writeln!(text, "before: {step:?}");
            }
            let _ = write!(
                text,
                "first:  {:?}\nsecond: {:?}\n{why}",
                scene.first, scene.second
            );
            text
        })?;
    }
    Ok(())
}

impl<S: Side> Play<'_, S> {
    async fn run(&mut self, meeting: Meeting) -> Result<(), String> {
        self.prepare(meeting == Meeting::InTurn).await?;
        match meeting {
            Meeting::InTurn => self.in_turn().await,
            Meeting::BeforeTheCommit => self.open(true).await,
            Meeting::BeforeTheRollback => self.open(false).await,
            Meeting::OlderSnapshot => self.older_snapshot().await,
            Meeting::AtOnce => self.at_once().await,
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Does what came before.
    async fn prepare(&self, compares: bool) -> Result<(), String> {
        self.ground.empty(S::EMPTIED).await;
        let mut foretold = self.foretold.before.iter();
        for (number, step) in self.scene.before.iter().enumerate() {
            match step {
                Step::Call(call) => {
                    let answer = S::on_postgres(&self.ground.first(), call).await;
                    if let Some(foretold) = foretold.next() {
                        same(&format!("call {number} before"), foretold, &answer)?;
                    }
                }
                Step::Day => self.ground.pass_a_day().await,
            }
        }
        if compares {
            same_tables("before", &self.foretold.tables_before, &self.tables().await)?;
        }
        Ok(())
    }

    async fn tables(&self) -> Value {
        sorted(self.ground.tables(S::TABLES).await)
    }

    async fn ask(&self, database: &Database, call: &S::Call) -> Answer {
        S::on_postgres(database, call).await
    }

    async fn in_turn(&mut self) -> Result<(), String> {
        let first = self.ask(&self.ground.first(), &self.scene.first).await;
        let second = self.ask(&self.ground.second(), &self.scene.second).await;
        let foretold = &self.foretold.in_turn;
        same("the first is answered", &foretold.first, &first)?;
        same("the second is answered", &foretold.second, &second)?;
        same_tables("afterwards", &foretold.tables, &self.tables().await)?;
        if second == Answer::Constraint {
            self.count("constraint");
        }
        Ok(())
    }

    async fn open(&mut self, commits: bool) -> Result<(), String> {
        let ground = self.ground;
        ground.begin().await;
        let first = self.ask(&ground.first(), &self.scene.first).await;
        let database = ground.second();
        let call = self.ask(&database, &self.scene.second);
        let (waits, call) = ground.until_it_waits(call, &ground.first).await;
        ground.end(commits).await;
        let second = call.await;
        if waits == Waits::ForTheOther {
            self.count("waited");
        }
        let is_in_flight = self.foretold.meanwhile == Some(Answer::InFlight);
        if is_in_flight || second == Answer::InFlight {
            let foretold = self.foretold.meanwhile.as_ref();
            same("the second is answered meanwhile", &foretold, &Some(&second))?;
            self.count("in flight");
        }
        if commits {
            same("the first is answered", &self.foretold.in_turn.first, &first)?;
            return self.judge(first, second, waits == Waits::ForTheOther).await;
        }
        let alone = &self.foretold.turned.second;
        let tables = self.tables().await;
        if second.is_again() && second != *alone {
            same_tables("while it is in flight", &self.foretold.tables_before, &tables)?;
            let again = self.ask(&ground.second(), &self.scene.second).await;
            same("the second is answered when it asks again", alone, &again)?;
        } else {
            same("the second, alone, is answered", alone, &second)?;
        }
        same_tables("afterwards", &self.foretold.after_second, &self.tables().await)
    }

    async fn older_snapshot(&mut self) -> Result<(), String> {
        let ground = self.ground;
        ground.close_the_gate().await;
        let database = ground.stalled();
        let call = self.ask(&database, &self.scene.second);
        let (waits, call) = ground.until_it_waits(call, &ground.gate).await;
        if waits == Waits::ForNobody {
            ground.open_the_gate().await;
            call.await;
            return Err("the second did not stop at the gate".to_owned());
        }
        let database = ground.first();
        let first = self.ask(&database, &self.scene.first);
        let (waits, first) = ground.until_it_waits(first, &ground.stalled).await;
        if waits == Waits::ForTheOther {
            return Err("the second holds a lock before it has looked at anything".to_owned());
        }
        let first = first.await;
        ground.open_the_gate().await;
        let second = call.await;
        same("the first is answered", &self.foretold.in_turn.first, &first)?;
        if second == Answer::InFlight {
            return Err("the second is in flight, and nobody else is".to_owned());
        }
        self.judge(first, second, false).await
    }

    async fn at_once(&mut self) -> Result<(), String> {
        let (one, other) = (self.ground.first(), self.ground.second());
        let first = self.ask(&one, &self.scene.first);
        let second = self.ask(&other, &self.scene.second);
        let (first, second) = futures::join!(first, second);
        if first.is_again() && first != self.foretold.turned.first && self.scene.share_a_key() {
            let foretold = &self.foretold.turned;
            same("the second is answered", &foretold.second, &second)?;
            same_tables(
                "before the first asks again",
                &self.foretold.after_second,
                &self.tables().await,
            )?;
            let again = self.ask(&self.ground.first(), &self.scene.first).await;
            same(
                "the first is answered when it asks again",
                &foretold.first,
                &again,
            )?;
            self.count("asked again");
            return same_tables("afterwards", &foretold.tables, &self.tables().await);
        }
        self.judge(first, second, false).await
    }

    /// Whether this is what the model says that the first and the second come to; or the second and the first, unless
    /// the second `waited` for it. What it opens it shows as it was before, even so. The second may have to ask again
    /// where the ports say so.
    async fn judge(&mut self, first: Answer, second: Answer, waited: bool) -> Result<(), String> {
        let foretold = self.foretold;
        if second.is_again() && second != foretold.in_turn.second {
            if !self.scene.share_a_key() {
                return Err(format!(
                    "the second is answered {second:?}, and has no key of the first's"
                ));
            }
            same("the first is answered", &foretold.in_turn.first, &first)?;
            same_tables(
                "before it asks again",
                &foretold.after_first,
                &self.tables().await,
            )?;
            let again = self.ask(&self.ground.second(), &self.scene.second).await;
            same(
                "the second is answered when it asks again",
                &foretold.in_turn.second,
                &again,
            )?;
            self.count("asked again");
            return same_tables("afterwards", &foretold.in_turn.tables, &self.tables().await);
        }
        if second == Answer::Begun && second != foretold.in_turn.second && self.scene.share_a_key() {
            return self.judge_begun(&first).await;
        }
        let tables = self.tables().await;
        let in_turn = self.fits(&foretold.in_turn, (&first, &second), &tables);
        if in_turn.is_ok() {
            return self.ask_for_the_missing(&foretold.in_turn.second, &second).await;
        }
        let may_be_turned = !waited || matches!(second, Answer::Opened(..));
        if may_be_turned && self.fits(&foretold.turned, (&first, &second), &tables).is_ok() {
            self.count("turned");
            return self.ask_for_the_missing(&foretold.turned.second, &second).await;
        }
        in_turn
    }

    /// The answer to a key was set by the first: the second has stored its change, and does not see that answer yet. One
    /// that had nothing else to store asks again.
    async fn judge_begun(&mut self, first: &Answer) -> Result<(), String> {
        let foretold = &self.foretold.in_turn;
        same("the first is answered", &foretold.first, first)?;
        same_tables("afterwards", &foretold.tables, &self.tables().await)?;
        self.count("begun");
        if self.foretold.after_first != foretold.tables {
            return Ok(());
        }
        let again = self.ask(&self.ground.second(), &self.scene.second).await;
        same(
            "the second is answered when it asks again",
            &foretold.second,
            &again,
        )
    }

    fn fits(
        &self,
        foretold: &Outcome,
        (first, second): (&Answer, &Answer),
        tables: &Value,
    ) -> Result<(), String> {
        let before = &self.foretold.tables_before["orders"];
        let first = with_missing(first, &foretold.first, before);
        let second = with_missing(second, &foretold.second, before);
        same("the first is answered", &foretold.first, &first)?;
        same("the second is answered", &foretold.second, &second)?;
        same_tables("afterwards", &foretold.tables, tables)
    }

    /// An order that was stored at the same time may be missing from an answer, and is there when it is asked for again.
    async fn ask_for_the_missing(&mut self, foretold: &Answer, answer: &Answer) -> Result<(), String> {
        if foretold == answer {
            return Ok(());
        }
        let ids = |answer: &Answer| match answer {
            Answer::Opened(orders, _) => orders.keys().copied().collect::<BTreeSet<_>>(),
            _ => BTreeSet::new(),
        };
        self.count("missing");
        let again = self.ask(&self.ground.second(), &self.scene.second).await;
        same(
            "the orders that are there in the end",
            &ids(foretold),
            &ids(&again),
        )
    }
}

/// The answer, with the orders that may be missing from it: those which there were not before, and which the other call
/// stores.
fn with_missing(answer: &Answer, foretold: &Answer, before: &Value) -> Answer {
    match (answer, foretold) {
        (Answer::Opened(orders, handled), Answer::Opened(all, _)) => {
            let mut orders = orders.clone();
            for (id, stands) in all {
                if before[id.to_string()].is_null() {
                    orders.entry(*id).or_insert_with(|| stands.clone());
                }
            }
            Answer::Opened(orders, handled.clone())
        }
        _ => answer.clone(),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, model: &T, postgres: &T) -> Result<(), String> {
    if model == postgres {
        return Ok(());
    }
    Err(format!("{what}:\n  model    {model:?}\n  Postgres {postgres:?}"))
}

fn same_tables(when: &str, model: &Value, postgres: &Value) -> Result<(), String> {
    let mut text = String::new();
    differ("", model, postgres, &mut text);
    if text.is_empty() {
        return Ok(());
    }
    Err(format!("{when}, the tables:{text}"))
}

/// Says where two documents differ.
fn differ(path: &str, model: &Value, postgres: &Value, text: &mut String) {
    match (model, postgres) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let at =
                    |fields: &serde_json::Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                differ(&format!("{path}/{key}"), &at(one), &at(other), text);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (number, (one, other)) in one.iter().zip(other).enumerate() {
                differ(&format!("{path}/{number}"), one, other, text);
            }
        }
        _ if model == postgres => {}
        _ => {
            let _ = write!(text, "\n  {path}\n    model    {model}\n    Postgres {postgres}");
        }
    }
}
