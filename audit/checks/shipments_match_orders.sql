-- Once quiet: what is completed was delivered, what is shipping is with the courier, and nothing else is.
select
    'order ' || orders.id as subject,
    format('it is %s, its shipment is %s', orders.status, coalesce(shipment.status, 'not there')) as what
from quiet_orders orders
left join delivery_shipments shipment on shipment.order_id = orders.id
where case orders.status
    when 'completed' then shipment.status is distinct from 'delivered'
    when 'shipping' then shipment.status is distinct from 'shipped'
    when 'cancelled' then shipment.status in ('shipped', 'delivered')
    -- Handed over, and waiting for an admin who ships it.
    else shipment.status is not null
end
