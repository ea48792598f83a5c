-- The shipment of the order $1; $2, where it is given, must own the order.
select
    shipments.id, shipments.order_id, orders.user_id, shipments.status, shipments.tracking_number,
    orders.delivery_address, shipments.failure_reason, shipments.version,
    shipments.created_at at time zone 'utc' as created_at, shipments.updated_at at time zone 'utc' as updated_at
from shipments
join orders on orders.id = shipments.order_id
where shipments.order_id = $1::uuid
  and ($2::uuid is null or orders.user_id = $2::uuid)
