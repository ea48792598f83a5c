-- A page of the shipments, of the status $1 where it is given, oldest first, and how many there are in all. One row
-- without a shipment says the count of a page that is empty.
with matching as (
    select id
    from shipments
    where ($1::text is null or status = $1::text)
), page as (
    select
        shipments.id, shipments.order_id, orders.user_id, shipments.status, shipments.tracking_number,
        orders.delivery_address, shipments.failure_reason, shipments.version,
        shipments.created_at at time zone 'utc' as created_at, shipments.updated_at at time zone 'utc' as updated_at
    from shipments
    join orders on orders.id = shipments.order_id
    where shipments.id in (select id from matching order by id limit $3::int8 offset $2::int8)
)
select counted.total, page.*
from (select count(*) as total from matching) as counted
left join page on true
order by page.id
