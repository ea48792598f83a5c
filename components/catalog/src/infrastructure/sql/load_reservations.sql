-- The reservations of the orders $1 with the flowers that were taken, and which of the events $2 were handled before,
-- in one reading of one snapshot.
select
    order_id, status, version,
    (
        select jsonb_agg(item.flower_id)
        from reservation_items as item
        where item.order_id = reservations.order_id
    ) as flowers,
    null::uuid as handled
from reservations
where order_id = any ($1::text[]::uuid[])
union all
select null, null, null, null, event_id
from inbox
where event_id = any ($2::text[]::uuid[])
