-- Always: an order costs what its lines cost.
select
    'order ' || id as subject,
    format('its total is %s, its lines come to %s (minor units)', total_minor, lines_minor) as what
from ordering_orders
where total_minor <> lines_minor
