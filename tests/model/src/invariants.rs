//! What must hold: after every step, and once all is quiet.

use crate::database::Row;
use crate::services::catalog::Kept;
use crate::world::{Service, World};
use catalog::domain::ReservationStatus;
use contracts::{EventId, OrderId};
use delivery::domain::{ShipmentState, Shipping};
use ordering::domain::{OrderStatus, StatusReason};
use payment::domain::{FailureReason, PaymentState, PaymentStatus};
use std::collections::HashSet;
use std::fmt;

/// Something that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    StockIsNeverNegative,
    OneEffect,
    HandledHadItsEffect,
    FinalIsFinal,
    ChargedOnce,
    RefundedAtMostWhatWasTaken,
    NoChargeAfterTheDeadline,
    NoChargeAfterTheCancellation,
    OneShipment,
    OneOrderPerKey,
    OneAnswerPerKey,
    FirstsInOrder,
    MarkedIsPublished,
    AcknowledgedIsHandled,
    NothingWaitsForATimer,
    NothingHealthyIsDead,
    AcknowledgedIsKept,
    ComesToRest,
    EverythingIsPublished,
    EverythingIsDelivered,
    OrdersAreFinalOrWait,
    MoneyBalances,
    StockBalances,
    NothingPanics,
}

impl fmt::Display for Invariant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::StockIsNeverNegative => "stock is at least 0",
            Self::OneEffect => "no event has its effect twice",
            Self::HandledHadItsEffect => "an event that counts as handled has had its effect",
            Self::FinalIsFinal => "completed and cancelled are final",
            Self::ChargedOnce => "no more is taken for an order than it costs",
            Self::RefundedAtMostWhatWasTaken => "no more is given back than was taken",
            Self::NoChargeAfterTheDeadline => "no charge starts after its order's deadline",
            Self::NoChargeAfterTheCancellation => {
                "who reads that an order is cancelled starts no charge for it"
            }
            Self::OneShipment => "an order has at most one shipment",
            Self::OneOrderPerKey => "a request that is sent twice under one key is done once",
            Self::OneAnswerPerKey => "a request that is sent twice under one key is answered the same",
            Self::FirstsInOrder => "the first publications of a key come in the order of the ids",
            Self::MarkedIsPublished => "a row that is marked as published is with the broker",
            Self::AcknowledgedIsHandled => {
                "a message is acknowledged only once it is handled or among the dead letters"
            }
            Self::NothingWaitsForATimer => "a timer holds no row back",
            Self::NothingHealthyIsDead => "nothing healthy is a dead letter, or parked",
            Self::AcknowledgedIsKept => "no acknowledged order is lost",
            Self::ComesToRest => "once faults stop, all comes to rest",
            Self::EverythingIsPublished => "once quiet, every row is published",
            Self::EverythingIsDelivered => "once quiet, every message is delivered",
            Self::OrdersAreFinalOrWait => "once quiet, every order is final or waits for a named party",
            Self::MoneyBalances => {
                "once quiet, what was taken and not given back is what the orders cost that stand"
            }
            Self::StockBalances => "once quiet, no flower is lost or made",
            Self::NothingPanics => "nothing panics",
        })
    }
}

/// An invariant that does not hold, and where.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "broken: {}: {}", self.invariant, self.what)
    }
}

/// What was seen to happen, kept apart from what the services themselves keep.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    effects: [HashSet<EventId>; 4],
    /// Rows that the broker has enqueued, and of each key the highest.
    published: [HashSet<i64>; 4],
    highest: [Vec<i64>; 4],
    /// Events that no service would take.
    dead: HashSet<EventId>,
    /// Orders that a client was told of.
    acknowledged: Vec<OrderId>,
    /// Where the orders go that are placed under a key.
    pub(crate) keyed: Vec<String>,
    /// What was answered under each idempotency key, by its number.
    answers: Vec<(usize, String)>,
}

impl Audit {
    /// An event has its effect.
    pub(crate) fn effect(&mut self, world: &World, service: Service, id: EventId) {
        if !self.effects[service.index()].insert(id) {
            world.violate(Invariant::OneEffect, |_| {
                format!("{} handles an event again", service.name())
            });
        }
    }

    pub(crate) fn check_inbox(&self, world: &World, service: Service, inbox: usize) {
        if inbox > self.effects[service.index()].len() {
            world.violate(Invariant::HandledHadItsEffect, |_| {
                format!("{} notes an event whose effect it has not stored", service.name())
            });
        }
    }

    /// The broker enqueues a row.
    pub(crate) fn publish(&mut self, world: &World, service: Service, id: i64, row_key: usize) {
        if !self.published[service.index()].insert(id) {
            return;
        }
        let highest = &mut self.highest[service.index()];
        if highest.len() <= row_key {
            highest.resize(row_key + 1, 0);
        }
        if id < highest[row_key] {
            world.violate(Invariant::FirstsInOrder, |_| {
                format!(
                    "row {id} of {} is published after {}",
                    service.name(),
                    highest[row_key]
                )
            });
        }
        highest[row_key] = highest[row_key].max(id);
    }

    /// A relay marks rows.
    pub(crate) fn mark(&self, world: &World, service: Service, ids: &[i64]) {
        if let Some(id) = ids
            .iter()
            .find(|id| !self.published[service.index()].contains(id))
        {
            world.violate(Invariant::MarkedIsPublished, |_| {
                format!(
                    "row {id} of {} is marked, and no queue has had it",
                    service.name()
                )
            });
        }
    }

    pub(crate) fn bury(&mut self, world: &World, id: EventId, what: impl FnOnce(&World) -> String) {
        self.dead.insert(id);
        world.violate(Invariant::NothingHealthyIsDead, what);
    }

    /// A message is acknowledged.
    pub(crate) fn acknowledge(
        &self,
        world: &World,
        service: Service,
        id: EventId,
        what: impl FnOnce(&World) -> String,
    ) {
        if !self.effects[service.index()].contains(&id) && !self.dead.contains(&id) {
            world.violate(Invariant::AcknowledgedIsHandled, what);
        }
    }

    /// A client hears that its order was placed.
    pub(crate) fn placed(&mut self, id: OrderId) {
        self.acknowledged.push(id);
    }

    /// A client hears an answer to a keyed request.
    pub(crate) fn answered(&mut self, world: &World, key: usize, answer: String) {
        match self.answers.iter().find(|(known, _)| *known == key) {
            Some((_, first)) if *first != answer => {
                world.violate(Invariant::OneAnswerPerKey, |_| {
                    format!("key {key} is answered in two ways")
                });
            }
            Some(_) => {}
            None => self.answers.push((key, answer)),
        }
    }
}

/// Once quiet: the rest.
pub(crate) fn check_at_rest(world: &World, stock_at_the_start: i64) {
    check_carriers(world);
    check_orders(world);
    check_money(world);
    check_stock(world, stock_at_the_start);
}

/// What the orders of a story came to.
pub(crate) fn ends(world: &World) -> Vec<&'static str> {
    let ordering = world.ordering.borrow();
    let mut ends: Vec<&'static str> = ordering
        .orders
        .iter()
        .map(|order| {
            order
                .status_reason
                .map_or(order.status.as_str(), StatusReason::as_str)
        })
        .collect();
    let payment = world.payment.borrow();
    let payments = payment.orders.iter().flat_map(|stored| stored.order.payments());
    ends.extend(payments.filter_map(|payment| match payment.state() {
        PaymentState::Refunded(_) => Some("payment refunded"),
        PaymentState::Failed(FailureReason::OrderCancelled) => Some("payment withdrawn, order cancelled"),
        PaymentState::Failed(FailureReason::PaymentDeadline) => Some("payment withdrawn, deadline passed"),
        _ => None,
    }));
    let catalog = world.catalog.borrow();
    let is_tombstone = |kept: &&Kept| kept.status == ReservationStatus::Withdrawn;
    ends.extend(
        catalog
            .reservations
            .iter()
            .filter(is_tombstone)
            .map(|_| "stock withdrawn"),
    );
    ends
}

fn check_carriers(world: &World) {
    for service in Service::ALL {
        let common = crate::database::common(world, service);
        if common.outbox.parked > 0 {
            world.violate(Invariant::NothingHealthyIsDead, |_| {
                format!("{} has parked rows", service.name())
            });
        }
        let waiting: Vec<&Row> = common.outbox.waiting.values().collect();
        if let Some(row) = waiting.first() {
            world.violate(Invariant::EverythingIsPublished, |world| {
                format!("{} of {} waits", row.sent.name(world), service.name())
            });
        }
    }
    if let Some(message) = world.broker.borrow().left() {
        world.violate(Invariant::EverythingIsDelivered, |world| {
            format!("{} is left in its queue", message.name(world))
        });
    }
}

fn check_orders(world: &World) {
    let ordering = world.ordering.borrow();
    let delivery = world.delivery.borrow();
    for order in &ordering.orders {
        let mut shipments = delivery.shipments.iter();
        let shipment = shipments.find(|shipment| shipment.order_id == order.id);
        let waits_for_an_admin = world.terms.delivery.shipping == Shipping::OnRequest && shipment.is_none();
        let is_well = match order.status {
            OrderStatus::Completed => true,
            // Ordering alone decides that, and before it hands over: or delivery has failed.
            OrderStatus::Cancelled => {
                shipment.is_none_or(|shipment| matches!(shipment.state, ShipmentState::Failed { .. }))
            }
            // Its deadline has passed by now.
            OrderStatus::Created | OrderStatus::PaymentFailed => false,
            OrderStatus::PaymentCompleted => order.stock_reserved && waits_for_an_admin,
            // The courier is to say what became of it.
            OrderStatus::Shipping => {
                shipment.is_some_and(|shipment| shipment.state == ShipmentState::Shipped)
                    && world.terms.delivery.arrival == delivery::domain::Arrival::Told
            }
        };
        if !is_well {
            world.violate(Invariant::OrdersAreFinalOrWait, |world| {
                let name = world.name("order", order.id.as_uuid());
                format!("{name} is {} for ever", order.status.as_str())
            });
        }
    }
    for address in &world.audit.borrow().keyed {
        let placed = ordering
            .orders
            .iter()
            .filter(|order| order.delivery_address == *address);
        if placed.count() > 1 {
            world.violate(Invariant::OneOrderPerKey, |_| format!("two orders to {address}"));
        }
    }
    for id in &world.audit.borrow().acknowledged {
        if ordering.order(*id).is_none() {
            world.violate(Invariant::AcknowledgedIsKept, |world| {
                world.name("order", id.as_uuid())
            });
        }
    }
}

fn check_money(world: &World) {
    let ledger = world.provider.borrow();
    let payments = world.payment.borrow();
    for order in &world.ordering.borrow().orders {
        let stands = !matches!(
            order.status,
            OrderStatus::Cancelled | OrderStatus::Created | OrderStatus::PaymentFailed
        );
        let expected = if stands { order.total.minor() } else { 0 };
        let kept = ledger.kept(order.id);
        let last = payments.order(order.id).and_then(|order| order.payments().last());
        let says = last.map(|last| last.state().status());
        let is_known = match says {
            Some(PaymentStatus::Completed) => kept == order.total.minor(),
            Some(PaymentStatus::Pending | PaymentStatus::Processing) => false,
            Some(PaymentStatus::Failed | PaymentStatus::Refunded) | None => kept == 0,
        };
        if kept != expected || !is_known {
            world.violate(Invariant::MoneyBalances, |world| {
                format!(
                    "{} is {}, costs {}, the provider keeps {kept} and payment says {}",
                    world.name("order", order.id.as_uuid()),
                    order.status.as_str(),
                    order.total.minor(),
                    says.map_or("nothing", PaymentStatus::as_str)
                )
            });
        }
    }
}

fn check_stock(world: &World, stock_at_the_start: i64) {
    let catalog = world.catalog.borrow();
    let ordering = world.ordering.borrow();
    let stock: i64 = catalog
        .flowers
        .iter()
        .map(|flower| i64::from(flower.stock_quantity))
        .sum();
    let mut out = 0;
    for kept in &catalog.reservations {
        let taken: i64 = kept.taken.iter().map(|(_, quantity)| quantity).sum();
        let is_out = matches!(kept.status, ReservationStatus::Reserved | ReservationStatus::Sold);
        if is_out {
            out += taken;
        }
        let order = ordering.order(kept.order_id).map(|order| order.status);
        let is_right = match order {
            Some(OrderStatus::Cancelled) => !is_out,
            Some(OrderStatus::Completed) => kept.status == ReservationStatus::Sold,
            _ => kept.status == ReservationStatus::Reserved,
        };
        if !is_right {
            world.violate(Invariant::StockBalances, |world| {
                let name = world.name("order", kept.order_id.as_uuid());
                format!("what is kept for {name} is {} at the end", kept.status.as_str())
            });
        }
    }
    let expected = stock_at_the_start + catalog.corrected;
    if stock + out != expected {
        world.violate(Invariant::StockBalances, |_| {
            format!("there were {expected} with all corrections, there are {stock}, and {out} were taken")
        });
    }
}
