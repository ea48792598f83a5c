-- Stores what handled events or a request come to: order, shipment, outbox and inbox, or nothing of it.
--
-- `gate` is the orders that are new (an insert that does nothing where another was faster) and those that still have
-- the version which was decided on, locked. Both come in the order of their ids, so that two batches never wait for
-- each other in a circle. Everything else selects from it: sub-statements share a snapshot, and an insert that did
-- not would commit although the version had moved on. An event that the inbox knows, or a tracking number that is
-- taken, fails the whole statement, which is then decided again.
with change as (
    select *
    from jsonb_to_recordset($1::jsonb) as change (
        order_id uuid, version bigint, user_id uuid, delivery_address text, at timestamptz
    )
), heard as (
    insert into orders (id, user_id, delivery_address, created_at)
    select order_id, user_id, delivery_address, at
    from change
    where version = 0
    order by order_id
    on conflict (id) do nothing
    returning id
), locked as (
    select orders.id
    from orders
    join change on change.order_id = orders.id and change.version = orders.version
    order by orders.id
    for update of orders
), raised as (
    update orders
    set version = orders.version + 1
    from locked
    where orders.id = locked.id
    returning orders.id
), gate as (
    select id
    from heard
    union all
    select id
    from raised
), shipped as (
    insert into shipments (id, order_id, status, tracking_number, created_at, updated_at)
    select shipment.id, gate.id, shipment.status, shipment.tracking_number, shipment.at, shipment.at
    from jsonb_to_recordset($2::jsonb) as shipment (
        id uuid, order_id uuid, status text, tracking_number text, at timestamptz
    )
    join gate on gate.id = shipment.order_id
    returning id
), seen as (
    insert into inbox (event_id)
    select handled.event_id
    from jsonb_to_recordset($3::jsonb) as handled (order_id uuid, event_id uuid)
    join gate on gate.id = handled.order_id
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
    join shipped on shipped.id = message.aggregate_id
)
select id
from gate
