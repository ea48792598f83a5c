-- The orders $1 with the shipment of each, and which of the events $2 were handled before, in one reading of one
-- snapshot.
select
    orders.id, orders.user_id, orders.delivery_address, orders.version, shipments.id as shipment_id,
    null::uuid as handled
from orders
left join shipments on shipments.order_id = orders.id
where orders.id = any ($1::text[]::uuid[])
union all
select null, null, null, null, null, event_id
from inbox
where event_id = any ($2::text[]::uuid[])
