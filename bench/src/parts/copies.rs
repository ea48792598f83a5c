//! Orders in numbers that no client would post in time: copies of one that was posted, with all the rows that it left.

use anyhow::{Context as _, Result};
use tokio_postgres::Client;
use uuid::Uuid;

/// What the posting of an order leaves, and what names the order there.
type Left = (&'static str, &'static str);
pub(super) const ALL: [Left; 4] = [
    ("orders", "id"),
    ("order_items", "order_id"),
    ("order_history", "order_id"),
    ("outbox_messages", "aggregate_id"),
];
/// The same without what is to be published.
pub(super) const TOLD: [Left; 3] = [ALL[0], ALL[1], ALL[2]];

/// Copies that are written at a time.
const BATCH: u64 = 50_000;

/// An order that was posted and that nobody has heard of yet.
pub(super) struct Template {
    order: Uuid,
    user: Uuid,
    /// Of all that has an id of its own and came with the order.
    ids: Vec<Uuid>,
}

/// Whose the copies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    TheSame,
    /// So many orders each belong to somebody else.
    Others(u64),
}

impl Template {
    /// Finds what belongs to `order`.
    pub(super) async fn find(database: &Client, order: &str) -> Result<Self> {
        let order: Uuid = order.parse()?;
        let user = "select user_id from ordering.orders where id = $1";
        let user = database.query_one(user, &[&order]).await?.try_get(0)?;
        let ids = "select id from ordering.order_items where order_id = $1
            union all select event_id from ordering.outbox_messages where aggregate_id = $1";
        let rows = database.query(ids, &[&order]).await?;
        let ids: Result<Vec<Uuid>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let mut ids = ids?;
        ids.push(order);
        Ok(Self { order, user, ids })
    }

    /// Writes `count` copies, columns and documents as they are, under ids of their own that ascend.
    pub(super) async fn copy(
        &self,
        database: &mut Client,
        count: u64,
        tables: &[Left],
        owner: Owner,
    ) -> Result<()> {
        let mut first = 1;
        while first <= count {
            let last = count.min(first + BATCH - 1);
            let transaction = database.transaction().await?;
            for (table, column) in tables {
                let statement = self.statement(table, column, owner);
                let numbers = [i64::try_from(first)?, i64::try_from(last)?];
                transaction
                    .execute(&statement, &[&numbers[0], &numbers[1]])
                    .await
                    .with_context(|| format!("copies in {table}"))?;
            }
            transaction.commit().await?;
            first = last + 1;
        }
        Ok(())
    }

    /// Copies number `$1` to `$2` of the rows of one table. The ids stand in columns and in the events' documents: they
    /// are replaced in the text of the whole row.
    fn statement(&self, table: &str, column: &str, owner: Owner) -> String {
        // Ids that were drawn in the same millisecond may differ at their end alone, where the number comes to stand: a
        // digit of its own keeps the copies of each apart.
        let replaced = |text: String, digit: usize, id: &Uuid, number: &str| {
            let id = id.to_string();
            let head = id.get(..24).unwrap_or_default();
            format!("replace({text}, '{id}', '{head}{digit:x}' || lpad(to_hex({number}), 11, '0'))")
        };
        let mut text = "row".to_owned();
        for (digit, id) in self.ids.iter().enumerate() {
            text = replaced(text, digit, id, "number");
        }
        if let Owner::Others(each) = owner {
            text = replaced(text, self.ids.len(), &self.user, &format!("number / {each}"));
        }
        // The id of an outbox row is drawn anew.
        format!(
            "insert into ordering.{table} overriding user value
            select copy.*
            from generate_series($1::bigint, $2::bigint) as number
            cross join (select to_jsonb(original)::text as row from ordering.{table} as original
                where {column} = '{}' order by original) as original
            cross join lateral jsonb_populate_record(null::ordering.{table}, ({text})::jsonb) as copy",
            self.order
        )
    }
}
