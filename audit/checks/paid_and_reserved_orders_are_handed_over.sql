-- Once quiet: an order that is paid and whose stock is reserved is known to delivery.
select 'order ' || orders.id as subject, 'it is paid and reserved, delivery does not know it' as what
from quiet_orders orders
where (orders.status in ('shipping', 'completed') or (orders.status = 'payment_completed' and orders.stock_reserved))
and not exists (select from delivery_orders known where known.id = orders.id)
