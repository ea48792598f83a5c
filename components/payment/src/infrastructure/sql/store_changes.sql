-- Stores what handled events come to: the payment's end, outbox and inbox of each order, or nothing of it.
--
-- `gate` locks the orders that still have the version which was decided on, in the order of their ids, so that two
-- batches never wait for each other in a circle. Everything else selects from it: sub-statements share a snapshot,
-- and an insert that did not would commit although the version had moved on. An event that the inbox knows fails
-- the whole statement, which is then decided again. Outbox ids are drawn under the order's lock, so their order is
-- the order of the commits.
with change as (
    select *
    from jsonb_to_recordset($1::jsonb) as change (order_id uuid, version bigint)
), gate as (
    select orders.id
    from orders
    join change on change.order_id = orders.id and change.version = orders.version
    order by orders.id
    for update of orders
), state as (
    update orders
    set version = orders.version + 1
    from gate
    where orders.id = gate.id
    returning orders.id
), ended as (
    update payments
    set status = ended.status,
        transaction_id = ended.transaction_id,
        failure_reason = ended.failure_reason,
        updated_at = ended.at
    from jsonb_to_recordset($2::jsonb) as ended (
        id uuid, order_id uuid, status text, transaction_id text, failure_reason text, at timestamptz
    )
    join state on state.id = ended.order_id
    where payments.id = ended.id
    returning payments.id
), seen as (
    insert into inbox (event_id)
    select handled.event_id
    from jsonb_to_recordset($3::jsonb) as handled (order_id uuid, event_id uuid)
    join state on state.id = handled.order_id
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, now()
    from jsonb_to_recordset($4::jsonb) as message (
        event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
        headers jsonb
    )
    join ended on ended.id = message.aggregate_id
)
select id
from state
