-- The shipments $1, and which of the events $2 were handled before, in one reading of one snapshot.
select
    shipments.id, shipments.order_id, orders.user_id, shipments.status, shipments.tracking_number,
    orders.delivery_address, shipments.failure_reason, shipments.version,
    shipments.created_at at time zone 'utc' as created_at, shipments.updated_at at time zone 'utc' as updated_at,
    null::uuid as handled
from shipments
join orders on orders.id = shipments.order_id
where shipments.id = any ($1::text[]::uuid[])
union all
select null, null, null, null, null, null, null, null, null, null, event_id
from inbox
where event_id = any ($2::text[]::uuid[])
