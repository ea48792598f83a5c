-- Shipments that have been with the courier for more than three days.
select 'order ' || order_id as subject, format('with the courier for %s', date_trunc('second', untouched_for)) as what
from delivery_shipments
where status = 'shipped'
and untouched_for > interval '3 days'
