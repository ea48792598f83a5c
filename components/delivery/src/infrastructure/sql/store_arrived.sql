-- Stores what became of shipments: state, outbox and inbox of each, or nothing of it.
--
-- `gate` locks the shipments that still have the version which was decided on, in the order of their ids, so that two
-- batches never wait for each other in a circle. Everything else selects from it: sub-statements share a snapshot,
-- and an insert that did not would commit although the version had moved on. An event that the inbox knows fails the
-- whole statement, which is then decided again. Outbox ids are drawn under the shipment's lock, so their order is the
-- order of the commits.
with arrived as (
    select *
    from jsonb_to_recordset($1::jsonb) as arrived (
        shipment_id uuid, version bigint, status text, failure_reason text, at timestamptz
    )
), gate as (
    select shipments.id
    from shipments
    join arrived on arrived.shipment_id = shipments.id and arrived.version = shipments.version
    order by shipments.id
    for update of shipments
), state as (
    update shipments
    set status = arrived.status,
        failure_reason = arrived.failure_reason,
        version = shipments.version + 1,
        updated_at = arrived.at
    from gate
    join arrived on arrived.shipment_id = gate.id
    where shipments.id = gate.id
    returning shipments.id
), seen as (
    insert into inbox (event_id)
    select handled.event_id
    from jsonb_to_recordset($2::jsonb) as handled (shipment_id uuid, event_id uuid)
    join state on state.id = handled.shipment_id
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at, due_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, now(), coalesce(message.due_at, now())
    from jsonb_to_recordset($3::jsonb) as message (
        event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
        headers jsonb, due_at timestamptz
    )
    join state on state.id = message.aggregate_id
)
select id
from state
