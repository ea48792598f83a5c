//! Handles a batch of events (R1, R7, R8): one statement stores the attempts as processing, the provider is asked
//! for all of them side by side, one statement stores what it said. What the gate refused because somebody was
//! faster is loaded and decided again.
//!
//! A crash may come between any two of these steps. The events then come again and find their attempts processing:
//! such a charge is looked up.

use super::ports::{Change, LookedUp, NoAnswer, Orders, Outgoing, Provider, Standing};
use crate::domain::{Charge, Order, PlacedOrder, Verdict};
use contracts::{Event, EventId, PaymentId, Received, Timestamp};
use futures::future::join_all;
use service::StoreError;
use service::events::Handled;
use service::trace::Traceparent;

#[cfg(test)]
mod tests;

/// How often a change that came too late is decided again before the batch's rest is put off.
const ATTEMPTS: usize = 3;

/// All that a batch tells of one order.
#[derive(Clone, Debug)]
struct Told {
    placed: PlacedOrder,
    events: Vec<EventId>,
    /// That of the first event.
    trace: Traceparent,
}

/// Gives an outcome for every event of the batch.
///
/// # Errors
/// If the store does not answer: then nothing is known of the batch's rest, and it is to come again whole.
pub async fn handle_events(
    orders: &impl Orders,
    provider: &impl Provider,
    batch: Vec<Received>,
) -> Result<Vec<Handled>, StoreError> {
    let mut done = Vec::with_capacity(batch.len());
    let mut open = Vec::new();
    for received in batch {
        if let Some(rejected) = sort(received, &mut open) {
            done.push(rejected);
        }
    }
    for _ in 0..ATTEMPTS {
        if open.is_empty() {
            break;
        }
        open = collect(orders, provider, open, &mut done).await?;
    }
    for told in &open {
        put_off(told, "the order keeps changing", &mut done);
    }
    Ok(done)
}

/// Adds what `received` tells to its order; an event that is not for payment is settled at once.
fn sort(received: Received, open: &mut Vec<Told>) -> Option<Handled> {
    let Event::OrderCreated(event) = received.event else {
        let name = received.event.event_type();
        return Some(Handled::rejected(
            received.id,
            format!("{name} is not for payment"),
        ));
    };
    match open.iter_mut().find(|told| told.placed.id == event.order_id) {
        Some(told) if told.events.contains(&received.id) => {}
        Some(told) => told.events.push(received.id),
        None => open.push(Told {
            placed: PlacedOrder {
                id: event.order_id,
                user_id: event.user_id,
                amount: event.total,
                method: event.payment_method,
            },
            events: vec![received.id],
            trace: received
                .traceparent
                .as_deref()
                .and_then(Traceparent::parse)
                .unwrap_or_else(Traceparent::random),
        }),
    }
    None
}

/// Goes once through the three steps. Adds what is settled to `done` and gives what is to be decided again.
async fn collect(
    orders: &impl Orders,
    provider: &impl Provider,
    open: Vec<Told>,
    done: &mut Vec<Handled>,
) -> Result<Vec<Told>, StoreError> {
    let (work, mut again) = begin(orders, open, done).await?;
    let calls = work.iter().map(|(_, standing)| ask(provider, standing));
    let answers = join_all(calls).await;

    let now = Timestamp::now();
    let mut changes = Vec::with_capacity(work.len());
    let mut decided = Vec::with_capacity(work.len());
    for ((told, standing), answer) in work.into_iter().zip(answers) {
        match answer {
            Ok(verdict) => {
                changes.push(settle(&told, standing.order, verdict, now));
                decided.push(told);
            }
            Err(reason) => put_off(&told, reason, done),
        }
    }
    if changes.is_empty() {
        return Ok(again);
    }
    let stored = match orders.store(&changes).await {
        Ok(stored) => stored,
        // The inbox knows one of the events by now, or two transactions met: decide again.
        Err(StoreError::Contention | StoreError::Constraint(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    for told in decided {
        if stored.contains(&told.placed.id) {
            done.extend(told.events.iter().map(|id| Handled::processed(*id)));
        } else {
            again.push(told);
        }
    }
    Ok(again)
}

type Work = Vec<(Told, Standing)>;

/// Stores the attempts that are new, and pairs what is told with the orders as they stand; what has to be loaded
/// again comes apart from that.
async fn begin(
    orders: &impl Orders,
    open: Vec<Told>,
    done: &mut Vec<Handled>,
) -> Result<(Work, Vec<Told>), StoreError> {
    let now = Timestamp::now();
    let first = |told: &Told| Order::open(told.placed.clone(), PaymentId::new(), now);
    let firsts: Vec<Order> = open.iter().map(first).collect();
    let events: Vec<EventId> = open.iter().flat_map(|told| told.events.iter().copied()).collect();
    let mut opened = match orders.open(&firsts, &events).await {
        Ok(opened) => opened,
        Err(StoreError::Contention) => return Ok((Vec::new(), open)),
        Err(error) => return Err(error),
    };
    let mut work = Vec::with_capacity(open.len());
    let mut again = Vec::new();
    for mut told in open {
        told.events.retain(|id| {
            let handled = opened.handled.contains(id);
            if handled {
                done.push(Handled::duplicate(*id));
            }
            !handled
        });
        if told.events.is_empty() {
            continue;
        }
        let id = told.placed.id;
        match opened
            .orders
            .iter()
            .position(|standing| standing.order.id() == id)
        {
            Some(position) => work.push((told, opened.orders.swap_remove(position))),
            None => again.push(told),
        }
    }
    Ok((work, again))
}

/// The provider's verdict on the charge that is under way, if one is; else why there is none yet.
async fn ask(provider: &impl Provider, standing: &Standing) -> Result<Option<Verdict>, &'static str> {
    let Some(charge) = standing.order.charge_under_way() else {
        return Ok(None);
    };
    let verdict = if standing.is_new {
        provider.charge(&charge).await.map_err(no_answer)?
    } else {
        find_out(provider, &charge).await?
    };
    Ok(Some(verdict))
}

/// What became of a charge that somebody may have asked for before.
async fn find_out(provider: &impl Provider, charge: &Charge) -> Result<Verdict, &'static str> {
    match provider.look_up(&charge.key).await.map_err(no_answer)? {
        LookedUp::Settled(verdict) => Ok(verdict),
        LookedUp::Pending => Err("the provider has not decided yet"),
        // Whoever stored the attempt ended before the provider heard of it, or is on the way there this very moment.
        // Either way it is safe to ask under the same key: the provider makes one charge of it.
        LookedUp::Unknown => provider.charge(charge).await.map_err(no_answer),
    }
}

fn no_answer(_: NoAnswer) -> &'static str {
    "the provider does not answer"
}

fn settle(told: &Told, mut order: Order, verdict: Option<Verdict>, now: Timestamp) -> Change {
    let version = order.version;
    let ended = verdict.and_then(|verdict| order.settle(verdict, now));
    let (ended, event) = ended.unzip();
    let outgoing = event.map(|event| Outgoing {
        event,
        trace: told.trace.clone(),
    });
    Change {
        order_id: order.id(),
        version,
        ended,
        at: now,
        outgoing: outgoing.into_iter().collect(),
        handled: told.events.clone(),
    }
}

fn put_off(told: &Told, reason: &str, done: &mut Vec<Handled>) {
    done.extend(told.events.iter().map(|id| Handled::retry(*id, reason)));
}
