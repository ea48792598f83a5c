//! Every persisting statement beside its in-memory model: the services' ports on a real Postgres, in two sessions that
//! race, have to answer as the model's ports do and to leave the same in the tables.
//!
//! `SHOP_STATEMENTS_SCENES` says how many scenes there are of each service, `SHOP_STATEMENTS_START` from which seed on.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test is to fail"
)]

mod catalog;
mod delivery;
mod files;
mod ground;
mod native;
mod ordering;
mod payment;
mod play;
mod scene;

use catalog::Catalog;
use delivery::Delivery;
use ground::Ground;
use native::Broken;
use ordering::Ordering;
use payment::Paying;
use play::{Tally, play};
use scene::{Scene, Side};
use shop_model::Mutation;
use std::collections::BTreeSet;
use std::ops::Range;

/// How many scenes of each service are played.
const SCENES: u64 = 60;

/// Within how many scenes a rule that is broken has to be found.
const SCENES_TO_FIND: u64 = 400;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect(name))
}

/// What playing came to.
struct Played {
    tally: Tally,
    /// Statements that were run.
    asked: BTreeSet<String>,
    disagreement: Option<String>,
}

/// Plays scenes until one disagrees.
fn scenes<S: Side>(seeds: Range<u64>, mutation: Option<Mutation>, broken: Option<Broken>) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ground = Ground::lay(S::SCHEMA, broken).await;
        let mut tally = Tally::new();
        let mut disagreement = None;
        for seed in seeds {
            let scene = Scene::<S>::draw(seed);
            *tally.entry("scenes").or_default() += 1;
            if let Err(why) = play(&ground, &scene, mutation, &mut tally).await {
                disagreement = Some(why);
                break;
            }
        }
        let asked = ground.asked.take();
        ground.clear().await;
        Played {
            tally,
            asked,
            disagreement,
        }
    })
}

/// Plays what there is to play of a service. Every statement of it that persists has to have been run, and what is in
/// `seen` to have happened.
fn agree<S: Side>(seen: &[&str]) {
    let (start, count) = (
        number("SHOP_STATEMENTS_START", 0),
        number("SHOP_STATEMENTS_SCENES", SCENES),
    );
    let began = std::time::Instant::now();
    let played = scenes::<S>(start..start + count, None, None);
    println!(
        "{}: {:.1} s, {:?}",
        S::SCHEMA,
        began.elapsed().as_secs_f64(),
        played.tally
    );
    if let Some(disagreement) = played.disagreement {
        panic!("{disagreement}");
    }
    if count < SCENES {
        return;
    }
    for what in seen {
        assert!(played.tally.contains_key(what), "never: {what}");
    }
    let never: Vec<String> = files::persisting(S::SCHEMA)
        .into_iter()
        .filter(|file| !played.asked.contains(&file.text))
        .map(|file| file.name)
        .collect();
    assert!(never.is_empty(), "never run: {never:?}");
}

/// Whether a rule that is broken is found.
fn is_found<S: Side>(mutation: Option<Mutation>, broken: Option<Broken>) -> bool {
    let played = scenes::<S>(0..SCENES_TO_FIND, mutation, broken);
    let found = played.disagreement.is_some();
    println!(
        "{mutation:?}{broken:?}: {found} after {} scenes",
        played.tally["scenes"]
    );
    found
}

#[test]
fn the_catalogs_statements_do_what_the_model_says() {
    agree::<Catalog>(&["waited", "turned", "raced"]);
}

#[test]
fn orderings_statements_do_what_the_model_says() {
    agree::<Ordering>(&["waited", "in flight", "asked again", "raced"]);
}

#[test]
fn payments_statements_do_what_the_model_says() {
    agree::<Paying>(&["waited", "in flight", "asked again", "missing", "raced"]);
}

#[test]
fn deliverys_statements_do_what_the_model_says() {
    agree::<Delivery>(&["waited", "constraint", "raced"]);
}

#[test]
fn every_persisting_statement_is_beside_a_model_or_named_here() {
    let beside = [
        Catalog::SCHEMA,
        Ordering::SCHEMA,
        Paying::SCHEMA,
        Delivery::SCHEMA,
    ];
    let mut others: Vec<String> = Vec::new();
    for component in files::components() {
        let files = files::persisting(&component).into_iter();
        if !beside.contains(&component.as_str()) {
            others.extend(files.map(|file| file.name));
        }
    }
    others.sort();
    let named: Vec<&str> = files::WITHOUT_A_MODEL.iter().map(|(name, _)| *name).collect();
    assert_eq!(others, named);
}

#[test]
fn a_model_that_is_broken_disagrees() {
    let found = [
        is_found::<Ordering>(Some(Mutation::GateWithoutTheVersion), None),
        is_found::<Ordering>(Some(Mutation::ForgetTheKey), None),
        is_found::<Ordering>(Some(Mutation::TimersInTheAggregatesKey), None),
        is_found::<Paying>(Some(Mutation::ForgetTheInbox), None),
        is_found::<Delivery>(Some(Mutation::InboxBesideTheGate), None),
        is_found::<Catalog>(Some(Mutation::NoTombstone), None),
        is_found::<Catalog>(Some(Mutation::PutBackBesideTheGate), None),
    ];
    assert_eq!(found, [true; 7]);
}

#[test]
fn a_statement_that_is_broken_disagrees() {
    let broken = |sound, broken| Some((sound, broken));
    let found = [
        // Gates that do not compare the version, or do not lock.
        is_found::<Ordering>(None, broken(" and change.version = orders.version", "")),
        is_found::<Ordering>(None, broken("    for update of orders\n", "")),
        is_found::<Delivery>(None, broken(" and arrived.version = shipments.version", "")),
        is_found::<Delivery>(None, broken("    for update of shipments\n", "")),
        is_found::<Paying>(None, broken("    for update\n", "")),
        // Stock that is judged without its lock.
        is_found::<Catalog>(None, broken("    for no key update\n", "")),
        // A key's row that gives way to whoever comes later.
        is_found::<Ordering>(
            None,
            broken(
                "\n    where idempotency_keys.created_at <= now() - interval '24 hours'",
                "",
            ),
        ),
        // A key that does not hold back its work.
        is_found::<Paying>(
            None,
            broken("\n       or exists (select from begun)", "\n       or true"),
        ),
        // A timer that is due at once.
        is_found::<Delivery>(None, broken("coalesce(message.due_at, now())", "now()")),
        // Old prices that come late.
        is_found::<Ordering>(
            None,
            broken("    where catalog_items.version < excluded.version\n", ""),
        ),
    ];
    assert_eq!(found, [true; 10]);
}
