-- Always: no acknowledged order is lost. What catalog, payment and delivery keep of an order, ordering has.
select 'order ' || work.order_id as subject, work.service || ' keeps something of it, ordering does not know it' as what
from (
    select order_id, 'catalog' as service from catalog_reservations
    union all
    select id, 'payment' from payment_orders
    union all
    select id, 'delivery' from delivery_orders
) as work
where not exists (select from ordering_orders orders where orders.id = work.order_id)
