-- Always: the last status in an order's history is the order's.
select
    'order ' || id as subject,
    format('it is %s, its history ends with %s', status, coalesce(last_status, 'nothing')) as what
from ordering_orders
where last_status is distinct from status
