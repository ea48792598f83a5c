//! Handles a batch of events (R1, R7, R8): one statement stores what is new, attempts to pay as processing and
//! cancellations as such, the provider is asked for all of them side by side, one statement stores what it said. What
//! the gate refused because somebody was faster is loaded and decided again.
//!
//! A crash may come between any two of these steps. The events then come again and find the orders with their errands
//! still to run: what may have been asked of the provider before is looked up. A timer that looks up a charge is nothing
//! but such an event: it has the errands of its order run, should its payment still be processing.

use super::ports::{Change, Orders, Outgoing, Provider, Standing};
use super::{ATTEMPTS, errands};
use crate::domain::{Order, PlacedOrder};
use contracts::{Event, EventId, OrderId, PaymentId, Received, Timestamp};
use futures::future::join_all;
use service::StoreError;
use service::events::Handled;
use service::trace::Traceparent;

#[cfg(test)]
mod tests;

/// All that a batch tells of one order: that it was placed, that it was cancelled, that charges are to be looked up.
#[derive(Clone, Debug)]
struct Told {
    order_id: OrderId,
    placed: Option<PlacedOrder>,
    is_cancelled: bool,
    look_ups: Vec<PaymentId>,
    events: Vec<EventId>,
    /// That of the first event.
    trace: Traceparent,
}

impl Told {
    /// Nothing of an order, yet.
    fn nothing(order_id: OrderId, trace: Traceparent) -> Self {
        Self {
            order_id,
            placed: None,
            is_cancelled: false,
            look_ups: Vec::new(),
            events: Vec::new(),
            trace,
        }
    }

    /// Whether this may be the first that is heard of the order. A timer never is.
    fn may_be_first(&self) -> bool {
        self.placed.is_some() || self.is_cancelled
    }

    /// The order, if nothing was heard of it before.
    fn first(&self, now: Timestamp) -> Order {
        match self.placed.clone() {
            Some(placed) if !self.is_cancelled => Order::open(self.order_id, placed, PaymentId::new(), now),
            placed => Order::cancelled(self.order_id, placed),
        }
    }

    /// Whether it asks for the order's errands to be run. A timer whose payment has ended does not.
    fn asks_for_errands(&self, order: &Order) -> bool {
        self.may_be_first() || self.look_ups.iter().any(|id| order.is_processing(*id))
    }
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
    let trace = Traceparent::of(&received);
    let order_id = match &received.event {
        Event::OrderCreated(event) => event.order_id,
        // Whatever the reason: also of an order that could not be delivered.
        Event::OrderCancelled(event) => event.order_id,
        Event::ChargeLookUpDue(event) => event.order_id,
        other => {
            let reason = format!("{} is not for payment", other.event_type());
            return Some(Handled::rejected(received.id, reason));
        }
    };
    let position = open.iter().position(|told| told.order_id == order_id);
    let mut told = match position {
        Some(position) => open.swap_remove(position),
        None => Told::nothing(order_id, trace),
    };
    if !told.events.contains(&received.id) {
        told.events.push(received.id);
        match received.event {
            Event::OrderCreated(event) => {
                told.placed = told.placed.or(Some(PlacedOrder {
                    user_id: event.user_id,
                    amount: event.total,
                    method: event.payment_method,
                    payment_due_at: event.payment_due_at,
                }));
            }
            Event::ChargeLookUpDue(event) => told.look_ups.push(event.payment_id),
            _ => told.is_cancelled = true,
        }
    }
    open.push(told);
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
    let work = cancel(orders, work, &mut again).await?;
    let runs = work.into_iter().map(async |(told, standing)| {
        let Standing { mut order, is_new } = standing;
        let answer = if told.asks_for_errands(&order) {
            errands::run(provider, &mut order, is_new, Timestamp::now).await
        } else {
            Ok(Vec::new())
        };
        (told, order, answer)
    });
    let answers = join_all(runs).await;

    let now = Timestamp::now();
    let mut changes = Vec::with_capacity(answers.len());
    let mut decided = Vec::with_capacity(answers.len());
    for (told, order, answer) in answers {
        match answer {
            Ok(events) => {
                changes.push(Change {
                    order,
                    at: now,
                    outgoing: Outgoing::all(events, &told.trace),
                    handled: told.events.clone(),
                });
                decided.push(told);
            }
            Err(reason) => put_off(&told, reason, done),
        }
    }
    let stored = store(orders, &changes).await?;
    for told in decided {
        if stored.contains(&told.order_id) {
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
    let (firsts, others): (Vec<&Told>, Vec<&Told>) = open.iter().partition(|told| told.may_be_first());
    let firsts: Vec<Order> = firsts.into_iter().map(|told| told.first(now)).collect();
    let others: Vec<OrderId> = others.into_iter().map(|told| told.order_id).collect();
    let events: Vec<EventId> = open.iter().flat_map(|told| told.events.iter().copied()).collect();
    let mut opened = match orders.open(&firsts, &others, &events).await {
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
        let id = told.order_id;
        match opened
            .orders
            .iter()
            .position(|standing| standing.order.id() == id)
        {
            Some(position) => work.push((told, opened.orders.swap_remove(position))),
            None if told.may_be_first() => again.push(told),
            None => {
                let reject = |id| Handled::rejected(id, "payment has not heard of the order");
                done.extend(told.events.into_iter().map(reject));
            }
        }
    }
    Ok((work, again))
}

/// Has the orders hear what they were told. A cancellation that gives the provider something to do is stored before the
/// provider is asked, as an attempt is; what is to be loaded again is added to `again`.
async fn cancel(orders: &impl Orders, work: Work, again: &mut Vec<Told>) -> Result<Work, StoreError> {
    let now = Timestamp::now();
    let mut ready = Vec::with_capacity(work.len());
    let mut cancelled = Vec::new();
    let mut changes = Vec::new();
    for (told, mut standing) in work {
        let order = &mut standing.order;
        if let Some(placed) = told.placed.clone() {
            order.hear(placed);
        }
        if told.is_cancelled && order.cancel(now) && order.errand().is_some() {
            changes.push(Change::new(order.clone(), now, Vec::new()));
            cancelled.push((told, standing));
        } else {
            ready.push((told, standing));
        }
    }
    let stored = store(orders, &changes).await?;
    for (told, mut standing) in cancelled {
        if stored.contains(&told.order_id) {
            standing.order.version += 1;
            ready.push((told, standing));
        } else {
            again.push(told);
        }
    }
    Ok(ready)
}

/// Stores the changes, and gives the orders whose change was stored.
async fn store(orders: &impl Orders, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    match orders.store(changes).await {
        // The inbox knows one of the events by now, or two transactions met: decide again.
        Err(StoreError::Contention | StoreError::Constraint(_)) => Ok(Vec::new()),
        answer => answer,
    }
}

fn put_off(told: &Told, reason: &str, done: &mut Vec<Handled>) {
    done.extend(told.events.iter().map(|id| Handled::retry(*id, reason)));
}
