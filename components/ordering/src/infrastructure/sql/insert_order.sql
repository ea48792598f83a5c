-- A new order with its lines, the first item of its history, the event that starts its saga and the timer of its
-- deadline. The insert of the order is the gate: everything else selects from it. insert_order_keyed.sql does the same
-- once per key.
with gate as (
    insert into orders (
        id, user_id, status, total_minor, currency, delivery_address, payment_method, created_at, updated_at,
        payment_due_at
    )
    select
        $1::uuid, $2::uuid, $3::text, $4::int8, $5::text, $6::text, $7::text, at.utc, at.utc,
        $9::timestamp at time zone 'utc'
    from (select $8::timestamp at time zone 'utc' as utc) as at
    returning id, status, version, created_at
), items as (
    insert into order_items (id, order_id, position, flower_id, bouquet_id, quantity, price_minor)
    select item.id, gate.id, item.position, item.flower_id, item.bouquet_id, item.quantity, item.price_minor
    from gate
    cross join jsonb_to_recordset($10::jsonb) as item (
        id uuid, position int, flower_id uuid, bouquet_id uuid, quantity int, price_minor bigint
    )
), history as (
    insert into order_history (order_id, version, position, status, at, cause, trace_id)
    select gate.id, gate.version, 0, gate.status, gate.created_at, $11::text, $12::text
    from gate
)
insert into outbox_messages (
    event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at, due_at
)
select
    message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
    message.payload, message.headers, gate.created_at, coalesce(message.due_at, now())
from gate
cross join jsonb_to_recordset($13::jsonb) as message (
    event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
    headers jsonb, due_at timestamptz
)
