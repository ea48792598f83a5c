-- What became of one order, oldest first: its changes of status, and other facts; $2, where it is given, must own it.
-- No row: no such order.
select
    (
        select jsonb_agg(to_jsonb(item) order by item.version, item.position)
        from (
            select
                status as what, at at time zone 'utc' as at, cause, event_id, trace_id, version, position
            from order_history
            where order_id = orders.id
        ) as item
    ) as items,
    (
        select coalesce(jsonb_agg(to_jsonb(item) order by item.version, item.position), '[]')
        from (
            select
                note as what, at at time zone 'utc' as at, cause, event_id, trace_id, version, position
            from order_notes
            where order_id = orders.id
        ) as item
    ) as notes
from orders
where id = $1::uuid
  and ($2::uuid is null or user_id = $2::uuid)
