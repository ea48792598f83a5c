-- How many orders are shipped; -1 if not all services agree on it.
select case when ordering = all (array[catalog, payment, provider, delivery]) then ordering else -1 end
from
    (select count(*) from ordering.orders where status = 'shipping') as o (ordering),
    (select count(*) from catalog.reservations where status = 'reserved') as c (catalog),
    (select count(*) from payment.payments where status = 'completed') as p (payment),
    (select count(*) from payment_provider.charges where outcome = 'succeeded') as l (provider),
    (select count(*) from delivery.shipments where status = 'shipped') as d (delivery)
