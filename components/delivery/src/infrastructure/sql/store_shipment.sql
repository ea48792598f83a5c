-- Stores what became of the shipment $1 and tells it, if it still has the version $2. The update is the gate: of two
-- at once the second finds the version raised, and the event selects from what was updated. Its outbox id is drawn
-- under the shipment's lock, so the order of ids is the order of commits.
with gate as (
    update shipments
    set status = $3::text,
        failure_reason = $4::text,
        version = version + 1,
        updated_at = $5::timestamp at time zone 'utc'
    where id = $1::uuid
      and version = $2::int8
    returning id
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, now()
    from gate
    cross join jsonb_to_recordset($6::jsonb) as message (
        event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
        headers jsonb
    )
)
select id
from gate
