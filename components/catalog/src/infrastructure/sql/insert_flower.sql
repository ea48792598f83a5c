-- A new flower and the event that tells of it. The insert of the flower is the gate.
with gate as (
    insert into flowers (
        id, name, description, price_minor, currency, stock_quantity, flower_type, image_url, version, created_at,
        updated_at
    )
    select
        $1::uuid, $2::text, $3::text, $4::int8, $5::text, $6::int4, $7::text, $8::text, $9::int8, at.utc, at.utc
    from (select $10::timestamp at time zone 'utc' as utc) as at
    returning id, updated_at
)
insert into outbox_messages (
    event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
)
select
    message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
    message.payload, message.headers, gate.updated_at
from gate
cross join jsonb_to_recordset($11::jsonb) as message (
    event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
    headers jsonb
)
