-- Stores what handled events or a request come to: the order, its last payment, outbox and inbox, or nothing of it.
--
-- `gate` locks the orders that still have the version which was decided on, in the order of their ids, so that two
-- batches never wait for each other in a circle. Everything else selects from it: sub-statements share a snapshot,
-- and an insert that did not would commit although the version had moved on. An event that the inbox knows fails
-- the whole statement, which is then decided again. Outbox ids are drawn under the order's lock and in the order in
-- which a change tells, so their order is the order of the commits.
with change as (
    select *
    from jsonb_to_recordset($1::jsonb) as change (
        order_id uuid, version bigint, user_id uuid, amount_minor bigint, currency text, payment_method text,
        payment_due_at timestamptz, is_cancelled boolean, at timestamptz
    )
), gate as (
    select orders.id
    from orders
    join change on change.order_id = orders.id and change.version = orders.version
    order by orders.id
    for update of orders
), state as (
    update orders
    set version = orders.version + 1,
        user_id = change.user_id,
        amount_minor = change.amount_minor,
        currency = change.currency,
        payment_method = change.payment_method,
        payment_due_at = change.payment_due_at,
        cancelled_at = case when change.is_cancelled then coalesce(orders.cancelled_at, change.at) end
    from gate
    join change on change.order_id = gate.id
    where orders.id = gate.id
    returning orders.id
), paid as (
    insert into payments (
        id, order_id, attempt, user_id, amount_minor, currency, status, payment_method, transaction_id,
        failure_reason, created_at, updated_at
    )
    select
        payment.id, state.id, payment.attempt, payment.user_id, payment.amount_minor, payment.currency,
        payment.status, payment.payment_method, payment.transaction_id, payment.failure_reason, payment.created_at,
        payment.updated_at
    from jsonb_to_recordset($2::jsonb) as payment (
        id uuid, order_id uuid, attempt int, user_id uuid, amount_minor bigint, currency text, status text,
        payment_method text, transaction_id text, failure_reason text, created_at timestamptz,
        updated_at timestamptz
    )
    join state on state.id = payment.order_id
    on conflict (id) do update
    set status = excluded.status,
        transaction_id = excluded.transaction_id,
        failure_reason = excluded.failure_reason,
        updated_at = excluded.updated_at
    returning id
), seen as (
    insert into inbox (event_id)
    select handled.event_id
    from jsonb_to_recordset($3::jsonb) as handled (order_id uuid, event_id uuid)
    join state on state.id = handled.order_id
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at, due_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, now(), coalesce(message.due_at, now())
    from rows from (
        jsonb_to_recordset($4::jsonb) as (
            event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
            headers jsonb, due_at timestamptz
        )
    ) with ordinality as message (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, due_at, place
    )
    join paid on paid.id = message.aggregate_id
    order by message.place
)
select id
from state
