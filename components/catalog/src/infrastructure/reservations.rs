//! Reservations in Postgres.

use crate::application::{Loaded, ReservationChange, Reservations, Stored, StoredReservation};
use crate::domain::{Product, ReservationStatus};
use contracts::{BouquetId, EventId, FlowerId, OrderId, Timestamp};
use serde::Serialize;
use service::StoreError;
use service::database::{Database, Session, jsonb, uuids};
use service::outbox::OutboxRow;
use uuid::Uuid;

/// One request's view of the reservations.
pub struct PostgresReservations<'a> {
    session: Session<'a>,
}

impl<'a> PostgresReservations<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }
}

impl Reservations for PostgresReservations<'_> {
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let parameters = vec![
            uuids(orders.iter().map(|id| id.as_uuid())),
            uuids(events.iter().map(|id| id.as_uuid())),
        ];
        let statement = include_str!("sql/load_reservations.sql");
        let mut loaded = Loaded::default();
        for row in self.session.query(statement, parameters).await? {
            match row.get::<Option<Uuid>>("handled")? {
                Some(id) => loaded.handled.push(id.into()),
                None => loaded.reservations.push(StoredReservation {
                    order_id: row.get::<Uuid>("order_id")?.into(),
                    status: row.word("status")?,
                    version: row.get("version")?,
                    flowers: row.json("flowers")?,
                }),
            }
        }
        Ok(loaded)
    }

    async fn store(&self, changes: &[ReservationChange], at: Timestamp) -> Result<Stored, StoreError> {
        let mut written = Vec::with_capacity(changes.len());
        let mut lines = Vec::new();
        let mut handled = Vec::with_capacity(changes.len());
        let mut outbox = Vec::new();
        for (position, change) in changes.iter().enumerate() {
            let order_id = change.order_id;
            let status = change.reservation.status();
            written.push(WrittenChange {
                order_id,
                version: change.version,
                position,
                status: status.map(ReservationStatus::as_str),
            });
            lines.extend(change.reservation.lines().iter().map(|line| {
                let (flower_id, bouquet_id) = match line.product {
                    Product::Flower(id) => (Some(id), None),
                    Product::Bouquet(id) => (None, Some(id)),
                };
                let quantity = line.quantity.get();
                WrittenLine {
                    order_id,
                    flower_id,
                    bouquet_id,
                    quantity,
                }
            }));
            let events = change.handled.iter();
            handled.extend(events.map(|event_id| WrittenHandled {
                order_id,
                event_id: *event_id,
            }));
            // Only where the stock decides is there anything to tell.
            for outgoing in change.outgoing.iter().filter(|_| status.is_none()) {
                outbox.push(WrittenAnswer {
                    is_reserved: outgoing.is_reserved,
                    row: OutboxRow::new(&outgoing.event, at, &outgoing.trace)?,
                });
            }
        }
        let parameters = vec![
            jsonb(&written)?,
            jsonb(&lines)?,
            jsonb(&handled)?,
            jsonb(&outbox)?,
            at.naive().into(),
        ];
        let statement = include_str!("sql/store_reservations.sql");
        let mut stored = Stored::default();
        for row in self.session.query(statement, parameters).await? {
            match row.get::<Option<Uuid>>("flower_id")? {
                Some(id) => stored.flowers.push(id.into()),
                None => stored.orders.push(row.get::<Uuid>("order_id")?.into()),
            }
        }
        Ok(stored)
    }
}

#[derive(Serialize)]
struct WrittenChange {
    order_id: OrderId,
    version: i64,
    position: usize,
    status: Option<&'static str>,
}

#[derive(Serialize)]
struct WrittenLine {
    order_id: OrderId,
    flower_id: Option<FlowerId>,
    bouquet_id: Option<BouquetId>,
    quantity: u32,
}

#[derive(Serialize)]
struct WrittenHandled {
    order_id: OrderId,
    event_id: EventId,
}

#[derive(Serialize)]
struct WrittenAnswer {
    is_reserved: bool,
    #[serde(flatten)]
    row: OutboxRow,
}
