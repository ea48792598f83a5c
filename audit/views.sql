-- What the checks share. Facts are in temporary tables, `<service>_<name>`; `audit.grace` is how long something must
-- have been left alone before it counts as quiet.

-- Everything that waits for an operator, and the order that it is about.
create temporary view waiting as
select 'letter:' || id as item, event_type, order_id, queue || ': ' || reason as what
from bridge_dead_letters
union all
select 'outbox:' || parked.service || ':' || parked.id, parked.event_type, parked.order_id, parked.last_error
from (
    select 'catalog' as service, catalog_parked.* from catalog_parked
    union all
    select 'ordering', ordering_parked.* from ordering_parked
    union all
    select 'payment', payment_parked.* from payment_parked
    union all
    select 'delivery', delivery_parked.* from delivery_parked
    union all
    select 'bridge', bridge_parked.* from bridge_parked
) as parked;

-- Orders of which something is on its way, was touched a moment ago, or waits for an operator.
create temporary view unsettled as
select order_id from catalog_pending
union
select order_id from ordering_pending
union
select order_id from payment_pending
union
select order_id from delivery_pending
union
select order_id from waiting where order_id is not null
union
select order_id::text from catalog_reservations where untouched_for < current_setting('audit.grace')::interval
union
select order_id::text from payment_payments where untouched_for < current_setting('audit.grace')::interval
union
select order_id::text from delivery_shipments where untouched_for < current_setting('audit.grace')::interval;

-- Orders of which nothing is under way.
create temporary view quiet_orders as
select orders.*
from ordering_orders orders
where orders.untouched_for >= current_setting('audit.grace')::interval
and not exists (select from unsettled where unsettled.order_id = orders.id::text);
