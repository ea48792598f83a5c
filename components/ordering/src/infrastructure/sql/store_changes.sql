-- Stores what handled events come to: state, history, notes, outbox and inbox of each order, or nothing of it.
--
-- `gate` locks the orders that still have the version which was decided on, in the order of their ids, so that two
-- batches never wait for each other in a circle. Everything else selects from it: sub-statements share a snapshot,
-- and an insert that did not would commit although the version had moved on. An event that the inbox knows fails
-- the whole statement, which is then decided again. Outbox ids are drawn under the order's lock, so their order is
-- the order of the commits.
with change as (
    select *
    from jsonb_to_recordset($1::jsonb) as change (
        order_id uuid, version bigint, status text, status_reason text, payment_attempt int,
        stock_reserved boolean, at timestamptz
    )
), gate as (
    select orders.id
    from orders
    join change on change.order_id = orders.id and change.version = orders.version
    order by orders.id
    for update of orders
), state as (
    update orders
    set status = change.status,
        status_reason = change.status_reason,
        payment_attempt = change.payment_attempt,
        stock_reserved = change.stock_reserved,
        version = orders.version + 1,
        updated_at = change.at
    from change
    join gate on gate.id = change.order_id
    where orders.id = change.order_id
    returning orders.id, orders.version
), seen as (
    insert into inbox (event_id)
    select handled.event_id
    from jsonb_to_recordset($2::jsonb) as handled (order_id uuid, event_id uuid)
    join state on state.id = handled.order_id
), history as (
    insert into order_history (order_id, version, position, status, at, cause, event_id, trace_id)
    select state.id, state.version, item.position, item.status, item.at, item.cause, item.event_id, item.trace_id
    from jsonb_to_recordset($3::jsonb) as item (
        order_id uuid, position int, status text, at timestamptz, cause text, event_id uuid, trace_id text
    )
    join state on state.id = item.order_id
), notes as (
    insert into order_notes (order_id, version, position, note, at, cause, event_id, trace_id)
    select state.id, state.version, item.position, item.note, item.at, item.cause, item.event_id, item.trace_id
    from jsonb_to_recordset($5::jsonb) as item (
        order_id uuid, position int, note text, at timestamptz, cause text, event_id uuid, trace_id text
    )
    join state on state.id = item.order_id
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at, due_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, now(), coalesce(message.due_at, now())
    from jsonb_to_recordset($4::jsonb) as message (
        event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
        headers jsonb, due_at timestamptz
    )
    join state on state.id = message.aggregate_id
)
select id
from state
