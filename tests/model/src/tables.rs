//! What is in the model's tables, in the shape in which a test reads the real ones. Lists of rows are in no order; what
//! one ordering key has in the outbox is in the order of the ids.

use crate::database::{Common, common};
use crate::world::{Service, World};
use contracts::Timestamp;
use ordering::domain::Product;
use payment::domain::FailureReason;
use serde_json::{Map, Value, json};
use service::idempotency::{IdempotencyKey, KeptAnswer};
use uuid::Uuid;

/// As Postgres is asked for it: microseconds.
fn micros(at: Timestamp) -> i64 {
    at.naive().and_utc().timestamp_micros()
}

fn by_id(rows: impl Iterator<Item = (Uuid, Value)>) -> Value {
    let rows = rows.map(|(id, row)| (id.to_string(), row));
    Value::Object(rows.collect())
}

/// Inbox and outbox, and what else a service has.
fn with_messages(world: &World, service: Service, tables: Value) -> Value {
    let common: &Common = &common(world, service);
    let inbox = common.handled().map(|id| json!(id));
    let mut outbox: Map<String, Value> = Map::new();
    for ((aggregate, timer), due, sent) in common.outbox.told() {
        let key = timer.map_or(aggregate.to_string(), |timer| format!("{aggregate}:{timer}"));
        let row = json!({
            "type": sent.event.event_type(),
            "routing_key": sent.event.routing_key(),
            "data": sent.event.to_data().unwrap_or_default(),
            "trace": sent.trace.as_str(),
            "due": due.map(|due| micros(world.timestamp(due))),
        });
        let rows = outbox.entry(key).or_insert_with(|| json!([]));
        rows.as_array_mut()
            .into_iter()
            .for_each(|rows| rows.push(row.clone()));
    }
    let mut tables = tables;
    tables["inbox"] = inbox.collect();
    tables["outbox"] = outbox.into();
    tables
}

fn key(key: &IdempotencyKey, answer: Option<&KeptAnswer>) -> Value {
    let mut row = json!(key);
    row["answer"] = json!(answer);
    row
}

pub(crate) fn catalog(world: &World) -> Value {
    let database = world.catalog.borrow();
    let flowers = database.flowers.iter().map(|flower| (flower, false));
    let deleted = database.deleted.iter().map(|flower| (flower, true));
    let flowers = flowers.chain(deleted).map(|(flower, deleted)| {
        let row = json!({
            "name": flower.name,
            "price": flower.price.minor(),
            "stock": flower.stock_quantity,
            "version": flower.version,
            "updated": micros(flower.updated_at),
            "deleted": deleted,
        });
        (flower.id.as_uuid(), row)
    });
    let reservations = database.reservations.iter().map(|kept| {
        let items = kept.taken.iter();
        let row = json!({
            "status": kept.status.as_str(),
            "version": kept.version,
            "items": by_id(items.map(|(flower, quantity)| (flower.as_uuid(), json!(quantity)))),
        });
        (kept.order_id.as_uuid(), row)
    });
    let bouquets = database.bouquets.iter().map(|bouquet| (bouquet, false));
    let gone = database.gone.iter().map(|bouquet| (bouquet, true));
    let bouquets = bouquets.chain(gone).map(|(bouquet, deleted)| {
        // A deleted one lets go of its flowers and its category.
        let items = bouquet.items.iter().filter(|_| !deleted).enumerate();
        let items = items.map(|(position, item)| {
            let row = json!({"position": position, "quantity": item.quantity.get()});
            (item.flower_id.as_uuid(), row)
        });
        let row = json!({
            "name": bouquet.name,
            "price": bouquet.price.minor(),
            "category": (!deleted).then_some(bouquet.category_id),
            "version": bouquet.version,
            "updated": micros(bouquet.updated_at),
            "deleted": deleted,
            "items": by_id(items),
        });
        (bouquet.id.as_uuid(), row)
    });
    let categories = database.categories.iter().map(|category| {
        let row = json!({
            "name": category.name,
            "description": category.description,
            "version": category.version,
        });
        (category.id.as_uuid(), row)
    });
    let tables = json!({
        "flowers": by_id(flowers),
        "bouquets": by_id(bouquets),
        "categories": by_id(categories),
        "reservations": by_id(reservations),
    });
    with_messages(world, Service::Catalog, tables)
}

pub(crate) fn ordering(world: &World) -> Value {
    let database = world.ordering.borrow();
    let orders = database.orders.iter().map(|order| {
        let items = order.items.iter().map(|item| {
            json!({
                "id": item.id,
                "product": item.product.id(),
                "quantity": item.quantity.get(),
                "price": item.price.minor(),
            })
        });
        let row = json!({
            "user": order.user_id,
            "status": order.status.as_str(),
            "reason": order.status_reason.map(ordering::domain::StatusReason::as_str),
            "total": order.total.minor(),
            "address": order.delivery_address,
            "method": order.payment_method.as_str(),
            "due": order.payment_due_at.map(micros),
            "attempt": order.payment_attempt,
            "reserved": order.stock_reserved,
            "version": order.version,
            "created": micros(order.created_at),
            "updated": micros(order.updated_at),
            "items": items.collect::<Vec<_>>(),
        });
        (order.id.as_uuid(), row)
    });
    let history = database.history.iter().map(|(order, version, position, item)| {
        json!({
            "order": order, "version": version, "position": position, "what": item.status.as_str(),
            "at": micros(item.at), "cause": item.cause, "event": item.event_id, "trace": item.trace_id,
        })
    });
    let notes = database.notes.iter().map(|(order, version, position, item)| {
        json!({
            "order": order, "version": version, "position": position, "what": item.note.as_str(),
            "at": micros(item.at), "cause": item.cause, "event": item.event_id, "trace": item.trace_id,
        })
    });
    let products = database.items.iter().map(|item| {
        let kind = match item.product {
            Product::Flower(_) => "flower",
            Product::Bouquet(_) => "bouquet",
        };
        let row = json!({
            "kind": kind,
            "name": item.name,
            "price": item.price.minor(),
            "version": item.version,
            "deleted": item.deleted,
        });
        (item.product.id(), row)
    });
    let keys = database
        .keys
        .iter()
        .map(|kept| key(&kept.key, Some(&kept.answer)));
    let tables = json!({
        "orders": by_id(orders),
        "history": history.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
        "products": by_id(products),
        "keys": keys.collect::<Vec<_>>(),
    });
    with_messages(world, Service::Ordering, tables)
}

pub(crate) fn payment(world: &World) -> Value {
    let database = world.payment.borrow();
    let orders = database.orders.iter().map(|stored| {
        let order = &stored.order;
        let placed = order.placed();
        let row = json!({
            "user": placed.map(|placed| placed.user_id),
            "amount": placed.map(|placed| placed.amount.minor()),
            "method": placed.map(|placed| placed.method.as_str()),
            "due": placed.and_then(|placed| placed.payment_due_at).map(micros),
            "cancelled": order.is_cancelled(),
            "version": order.version,
        });
        (order.id().as_uuid(), row)
    });
    let payments = database.orders.iter().flat_map(|stored| stored.order.payments());
    let payments = payments.map(|payment| {
        let (attempt, state) = (payment.attempt(), payment.state());
        let row = json!({
            "order": attempt.order_id,
            "attempt": attempt.number,
            "user": attempt.user_id,
            "amount": attempt.amount.minor(),
            "status": state.status().as_str(),
            "method": attempt.method.as_str(),
            "transaction": state.transaction_id().map(ToString::to_string),
            "reason": state.failure_reason().map(FailureReason::as_str),
            "created": micros(payment.created_at()),
            "updated": micros(payment.updated_at()),
        });
        (attempt.payment_id.as_uuid(), row)
    });
    let keys = database.keys.iter().map(|kept| {
        let mut row = key(&kept.key, kept.answer.as_ref());
        row["payment"] = json!(kept.payment_id);
        row
    });
    let tables = json!({
        "orders": by_id(orders),
        "payments": by_id(payments),
        "keys": keys.collect::<Vec<_>>(),
    });
    with_messages(world, Service::Payment, tables)
}

pub(crate) fn delivery(world: &World) -> Value {
    let database = world.delivery.borrow();
    let orders = database.orders.iter().map(|order| {
        let row = json!({
            "user": order.paid.user_id,
            "address": order.paid.delivery_address,
            "version": order.version,
        });
        (order.id().as_uuid(), row)
    });
    let shipments = database.shipments.iter().map(|shipment| {
        let row = json!({
            "order": shipment.order_id,
            "status": shipment.state.status().as_str(),
            "tracking_number": shipment.tracking_number.as_str(),
            "reason": shipment.state.failure_reason(),
            "version": shipment.version,
            "created": micros(shipment.created_at),
            "updated": micros(shipment.updated_at),
        });
        (shipment.id.as_uuid(), row)
    });
    let tables = json!({"orders": by_id(orders), "shipments": by_id(shipments)});
    with_messages(world, Service::Delivery, tables)
}
