//! Paid orders and their shipments in Postgres.

use crate::application::{Arrived, Change, Loaded, LoadedShipments, Outgoing, Shipments};
use crate::domain::{Announcement, Order, PaidOrder, Shipment, ShipmentState, ShipmentStatus};
use contracts::{EventId, OrderId, ShipmentId, Timestamp, UserId};
use serde::Serialize;
use service::database::{Database, Row, Session, jsonb, uuids};
use service::outbox::OutboxRow;
use service::{Page, PageQuery, StoreError};
use uuid::Uuid;

/// One request's view of delivery's schema.
pub struct PostgresShipments<'a> {
    session: Session<'a>,
}

impl<'a> PostgresShipments<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }
}

impl Shipments for PostgresShipments<'_> {
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        let parameters = vec![
            uuids(orders.iter().map(|id| id.as_uuid())),
            uuids(events.iter().map(|id| id.as_uuid())),
        ];
        let rows = self
            .session
            .query(include_str!("sql/load_batch.sql"), parameters)
            .await?;
        let mut loaded = Loaded::default();
        for row in &rows {
            match row.get::<Option<Uuid>>("handled")? {
                Some(id) => loaded.handled.push(id.into()),
                None => loaded.orders.push(order(row)?),
            }
        }
        Ok(loaded)
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        let orders: Vec<_> = changes.iter().map(WrittenOrder::new).collect();
        let shipments: Vec<_> = changes
            .iter()
            .filter_map(|change| change.shipment.as_ref())
            .map(WrittenShipment::new)
            .collect();
        let mut handled = Vec::new();
        let mut outbox = Vec::new();
        for change in changes {
            let order_id = change.order.id();
            handled.extend(change.handled.iter().map(|event_id| WrittenHandled {
                order_id,
                event_id: *event_id,
            }));
            for outgoing in &change.outgoing {
                outbox.push(written(outgoing, change.at)?);
            }
        }
        let parameters = vec![
            jsonb(&orders)?,
            jsonb(&shipments)?,
            jsonb(&handled)?,
            jsonb(&outbox)?,
        ];
        let rows = self
            .session
            .query(include_str!("sql/store_changes.sql"), parameters)
            .await?;
        rows.iter().map(|row| Ok(row.get::<Uuid>("id")?.into())).collect()
    }

    async fn load_shipments(
        &self,
        shipments: &[ShipmentId],
        events: &[EventId],
    ) -> Result<LoadedShipments, StoreError> {
        let parameters = vec![
            uuids(shipments.iter().map(|id| id.as_uuid())),
            uuids(events.iter().map(|id| id.as_uuid())),
        ];
        let rows = self
            .session
            .query(include_str!("sql/load_shipments.sql"), parameters)
            .await?;
        let mut loaded = LoadedShipments::default();
        for row in &rows {
            match row.get::<Option<Uuid>>("handled")? {
                Some(id) => loaded.handled.push(id.into()),
                None => loaded.shipments.push(shipment(row)?),
            }
        }
        Ok(loaded)
    }

    async fn store_arrived(&self, arrived: &[Arrived]) -> Result<Vec<ShipmentId>, StoreError> {
        let states: Vec<_> = arrived.iter().map(WrittenArrived::new).collect();
        let mut handled = Vec::new();
        let mut outbox = Vec::new();
        for arrived in arrived {
            let shipment = &arrived.shipment;
            handled.extend(arrived.handled.iter().map(|event_id| WrittenTimer {
                shipment_id: shipment.id,
                event_id: *event_id,
            }));
            if let Some(outgoing) = &arrived.outgoing {
                outbox.push(written(outgoing, shipment.updated_at)?);
            }
        }
        let parameters = vec![jsonb(&states)?, jsonb(&handled)?, jsonb(&outbox)?];
        let rows = self
            .session
            .query(include_str!("sql/store_arrived.sql"), parameters)
            .await?;
        rows.iter().map(|row| Ok(row.get::<Uuid>("id")?.into())).collect()
    }

    async fn find(&self, id: ShipmentId, owner: Option<UserId>) -> Result<Option<Shipment>, StoreError> {
        let parameters = vec![id.as_uuid().into(), owner.map(UserId::as_uuid).into()];
        let row = self
            .session
            .query_one(include_str!("sql/find_shipment.sql"), parameters)
            .await?;
        row.as_ref().map(shipment).transpose()
    }

    async fn find_of_order(
        &self,
        order_id: OrderId,
        owner: Option<UserId>,
    ) -> Result<Option<Shipment>, StoreError> {
        let parameters = vec![order_id.as_uuid().into(), owner.map(UserId::as_uuid).into()];
        let row = self
            .session
            .query_one(include_str!("sql/find_shipment_of_order.sql"), parameters)
            .await?;
        row.as_ref().map(shipment).transpose()
    }

    async fn list(
        &self,
        status: Option<ShipmentStatus>,
        page: PageQuery,
    ) -> Result<Page<Shipment>, StoreError> {
        let parameters = vec![
            status.map(|status| status.as_str().to_owned()).into(),
            page.skip.into(),
            page.limit.into(),
        ];
        let rows = self
            .session
            .query(include_str!("sql/list_shipments.sql"), parameters)
            .await?;
        let total = rows.first().map_or(Ok(0), |row| row.get("total"))?;
        let mut shipments = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.get::<Option<Uuid>>("id")?.is_some() {
                shipments.push(shipment(row)?);
            }
        }
        Ok(Page::new(page, total, shipments))
    }
}

fn written(outgoing: &Outgoing, at: Timestamp) -> Result<OutboxRow, StoreError> {
    let Announcement { event, due_at } = &outgoing.announcement;
    match due_at {
        Some(due_at) => OutboxRow::timer(event, at, *due_at, &outgoing.trace),
        None => OutboxRow::new(event, at, &outgoing.trace),
    }
}

fn order(row: &Row) -> Result<Order, StoreError> {
    let shipment_id: Option<Uuid> = row.get("shipment_id")?;
    Ok(Order {
        paid: PaidOrder {
            id: row.get::<Uuid>("id")?.into(),
            user_id: row.get::<Uuid>("user_id")?.into(),
            delivery_address: row.get("delivery_address")?,
        },
        version: row.get("version")?,
        shipment_id: shipment_id.map(ShipmentId::from),
    })
}

fn shipment(row: &Row) -> Result<Shipment, StoreError> {
    let state = ShipmentState::from_words(row.word("status")?, row.get("failure_reason")?);
    Ok(Shipment {
        id: row.get::<Uuid>("id")?.into(),
        order_id: row.get::<Uuid>("order_id")?.into(),
        user_id: row.get::<Uuid>("user_id")?.into(),
        delivery_address: row.get("delivery_address")?,
        tracking_number: row.get::<String>("tracking_number")?.into(),
        state: state.map_err(|error| StoreError::Mistake(error.to_string()))?,
        version: row.get("version")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

#[derive(Serialize)]
struct WrittenOrder<'a> {
    order_id: OrderId,
    version: i64,
    user_id: UserId,
    delivery_address: &'a str,
    at: Timestamp,
}

impl<'a> WrittenOrder<'a> {
    fn new(change: &'a Change) -> Self {
        let paid = &change.order.paid;
        Self {
            order_id: paid.id,
            version: change.order.version,
            user_id: paid.user_id,
            delivery_address: &paid.delivery_address,
            at: change.at,
        }
    }
}

#[derive(Serialize)]
struct WrittenShipment<'a> {
    id: ShipmentId,
    order_id: OrderId,
    status: &'static str,
    tracking_number: &'a str,
    at: Timestamp,
}

impl<'a> WrittenShipment<'a> {
    fn new(shipment: &'a Shipment) -> Self {
        Self {
            id: shipment.id,
            order_id: shipment.order_id,
            status: shipment.state.status().as_str(),
            tracking_number: shipment.tracking_number.as_str(),
            at: shipment.created_at,
        }
    }
}

#[derive(Serialize)]
struct WrittenHandled {
    order_id: OrderId,
    event_id: EventId,
}

#[derive(Serialize)]
struct WrittenArrived<'a> {
    shipment_id: ShipmentId,
    version: i64,
    status: &'static str,
    failure_reason: Option<&'a str>,
    at: Timestamp,
}

impl<'a> WrittenArrived<'a> {
    fn new(arrived: &'a Arrived) -> Self {
        let shipment = &arrived.shipment;
        Self {
            shipment_id: shipment.id,
            version: shipment.version,
            status: shipment.state.status().as_str(),
            failure_reason: shipment.state.failure_reason(),
            at: shipment.updated_at,
        }
    }
}

#[derive(Serialize)]
struct WrittenTimer {
    shipment_id: ShipmentId,
    event_id: EventId,
}
