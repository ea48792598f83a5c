-- Stores the orders of $1 that payment has not heard of, each with its first attempt if it has one, gives all of them
-- as they stand, those of the orders $2 that there are, and which of the events $3 were handled before.
--
-- The insert of the order is the gate: its attempt selects from it. Rows come in the order of their ids, so that two
-- batches never wait for each other in a circle. An order that another transaction is storing at the same time is in
-- neither part of the answer: the insert waits for it and does nothing, and the snapshot is older.
with told as (
    select *
    from jsonb_to_recordset($1::jsonb) as told (
        order_id uuid, user_id uuid, amount_minor bigint, currency text, payment_method text, is_cancelled boolean,
        payment_due_at timestamptz, payment_id uuid, attempt int, status text, at timestamptz
    )
), gate as (
    insert into orders (
        id, user_id, amount_minor, currency, payment_method, payment_due_at, created_at, cancelled_at
    )
    select
        order_id, user_id, amount_minor, currency, payment_method, payment_due_at, at,
        case when is_cancelled then at end
    from told
    order by order_id
    on conflict (id) do nothing
    returning id
), attempts as (
    insert into payments (
        id, order_id, attempt, user_id, amount_minor, currency, status, payment_method, created_at, updated_at
    )
    select
        told.payment_id, gate.id, told.attempt, told.user_id, told.amount_minor, told.currency, told.status,
        told.payment_method, told.at, told.at
    from told
    join gate on gate.id = told.order_id
    where told.payment_id is not null
)
select
    id, true as is_new, null::uuid as user_id, null::bigint as amount_minor, null::text as payment_method,
    null::boolean as is_cancelled, null::bigint as version, null::timestamp as payment_due_at,
    null::jsonb as payments, null::uuid as handled
from gate
union all
select
    id, false, user_id, amount_minor, payment_method, cancelled_at is not null, version,
    payment_due_at at time zone 'utc',
    (
        select jsonb_agg(to_jsonb(payment) order by payment.attempt)
        from payments as payment
        where payment.order_id = orders.id
    ),
    null
from orders
where id in (
    select order_id
    from told
    union all
    select unnest($2::text[]::uuid[])
)
union all
select null, false, null, null, null, null, null, null, null, event_id
from inbox
where event_id = any ($3::text[]::uuid[])
