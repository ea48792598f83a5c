//! Parked rows of outboxes: listed, due again, discarded.

use super::item::{Filter, Item, ItemId};
use super::{Act, OperatorError, Wish, outbox_name, record};
use crate::database::{in_schema, within};
use crate::topology::Topology;
use crash_points::Point;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

pub(super) async fn list(
    client: &Client,
    topology: &Topology,
    service: &str,
    filter: &Filter,
) -> Result<Vec<Item>, OperatorError> {
    let sql = in_schema(include_str!("sql/list_parked.sql"), service);
    let (types, seconds) = (filter.types(), filter.older_than_seconds());
    let values: [&(dyn ToSql + Sync); 4] = [&topology.correlate_by, &types, &seconds, &filter.about];
    let rows = within(Point::OperatorListed, client.query(&sql, &values)).await?;
    let item = |row: &tokio_postgres::Row| {
        Ok(Item {
            id: ItemId::Parked {
                service: service.to_owned(),
                id: row.try_get(0)?,
            },
            queue: outbox_name(service),
            service: Some(service.to_owned()),
            event_id: row.try_get(1)?,
            event_type: row.try_get(2)?,
            about: row.try_get(3)?,
            times: row.try_get(4)?,
            since: row.try_get(5)?,
            reason: row.try_get(6)?,
        })
    };
    rows.iter().map(item).collect()
}

/// Changes the row under its lock. The act is recorded in the same transaction, or, where the service has a database
/// of its own (then `records` is the bridge's), before the row changes: a crash between the two leaves the row parked,
/// and an act that was tried.
pub(super) async fn act(
    outbox: &mut Client,
    records: Option<&Client>,
    service: &str,
    id: i64,
    wish: Wish,
    act: &Act,
) -> Result<(), OperatorError> {
    let transaction = within(Point::OperatorBegun, outbox.transaction()).await?;
    let lock = in_schema(include_str!("sql/lock_parked.sql"), service);
    let rows = within(Point::OperatorLocked, transaction.query(&lock, &[&id])).await?;
    let event_id: String = rows.first().ok_or(OperatorError::NotOpen)?.try_get(0)?;
    let subject = ItemId::Parked {
        service: service.to_owned(),
        id,
    };
    let (subject, event_id) = (subject.to_string(), Some(event_id.as_str()));
    match records {
        Some(records) => record(records, act, wish.past(), &subject, event_id).await?,
        None => record(&transaction, act, wish.past(), &subject, event_id).await?,
    }
    let change = match wish {
        Wish::Retry => include_str!("sql/unpark.sql"),
        Wish::Discard => include_str!("sql/discard_parked.sql"),
    };
    let change = in_schema(change, service);
    within(Point::OperatorChanged, transaction.execute(&change, &[&id])).await?;
    within(Point::OperatorCommitted, transaction.commit()).await?;
    Ok(())
}
