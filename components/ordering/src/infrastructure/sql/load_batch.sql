-- The orders $1, and which of the events $2 were handled before, in one reading of one snapshot.
select
    id, user_id, status, status_reason, total_minor, delivery_address, payment_method,
    payment_due_at at time zone 'utc' as payment_due_at, payment_attempt, stock_reserved, version,
    created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at,
    null::jsonb as items, null::uuid as handled
from orders
where id = any ($1::text[]::uuid[])
union all
select
    null, null, null, null, null, null, null, null, null, null, null, null, null, null, event_id
from inbox
where event_id = any ($2::text[]::uuid[])
