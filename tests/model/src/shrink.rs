//! The smallest story that breaks the same invariant: commands and faults are cut from the plan, and rates set to zero,
//! for as long as it still breaks. What is cut changes what the dice mean, so each cut is tried with many.

use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::plan::Plan;
use crate::story::tell;

/// How many dice each cut is tried with.
const TRIES: u64 = 150;

/// A plan with as little in it as could be found that still breaks `invariant`.
#[must_use]
pub fn shrink(plan: &Plan, mutation: Option<Mutation>, invariant: Invariant) -> Plan {
    let mut best = plan.clone();
    loop {
        let smaller = cuts(&best)
            .into_iter()
            .find_map(|cut| breaking(cut, mutation, invariant));
        match smaller {
            Some(smaller) => best = smaller,
            None => return shortest(best, mutation, invariant),
        }
    }
}

/// The plan with dice by which it breaks, if there are any.
fn breaking(mut plan: Plan, mutation: Option<Mutation>, invariant: Invariant) -> Option<Plan> {
    let first = plan.dice;
    for attempt in 0..TRIES {
        plan.dice = first.wrapping_add(attempt);
        let ending = tell(&plan, mutation, false);
        if ending
            .violation
            .is_some_and(|violation| violation.invariant == invariant)
        {
            return Some(plan);
        }
    }
    None
}

/// Of the same plan by other dice, the one whose story is told in the fewest steps.
fn shortest(plan: Plan, mutation: Option<Mutation>, invariant: Invariant) -> Plan {
    let steps = |plan: &Plan| {
        let ending = tell(plan, mutation, false);
        let breaks = ending
            .violation
            .is_some_and(|violation| violation.invariant == invariant);
        breaks.then_some(ending.steps)
    };
    let all = (0..TRIES * 4).map(|attempt| Plan {
        dice: plan.dice.wrapping_add(attempt),
        ..plan.clone()
    });
    let found = all.filter_map(|other| Some((steps(&other)?, other)));
    found
        .min_by_key(|(steps, _)| *steps)
        .map_or(plan, |(_, shortest)| shortest)
}

/// The plan with one thing less in it, each.
fn cuts(plan: &Plan) -> Vec<Plan> {
    let mut cuts = Vec::new();
    for position in 0..plan.faults.len() {
        let mut cut = plan.clone();
        cut.faults.remove(position);
        cuts.push(cut);
    }
    for position in 0..plan.commands.len() {
        let mut cut = plan.clone();
        cut.commands.remove(position);
        cuts.push(cut);
    }
    let mut without = |change: fn(&mut Plan)| {
        let mut cut = plan.clone();
        change(&mut cut);
        let rates = |plan: &Plan| {
            let terms = plan.terms;
            (
                terms.lost_calls,
                terms.lost_answers,
                terms.contention,
                terms.nacks,
                terms.slow,
                terms.bridges,
            )
        };
        if rates(&cut) != rates(plan) {
            cuts.push(cut);
        }
    };
    without(|plan| plan.terms.lost_calls = 0);
    without(|plan| plan.terms.lost_answers = 0);
    without(|plan| plan.terms.contention = 0);
    without(|plan| plan.terms.nacks = 0);
    without(|plan| plan.terms.slow = 0);
    without(|plan| {
        if plan.faults.is_empty() {
            plan.terms.bridges = 1;
        }
    });
    cuts
}
