-- A new bouquet, its flowers and the event that tells of it. The insert of the bouquet is the gate. The foreign keys
-- are checked when the statement ends, with what is committed by then, and hold each flower and the category until
-- the commit: a deletion either came first, and this fails, or waits and finds the bouquet.
with gate as (
    insert into bouquets (
        id, name, description, price_minor, currency, category_id, image_url, version, created_at, updated_at
    )
    select $1::uuid, $2::text, $3::text, $4::int8, $5::text, $6::uuid, $7::text, $8::int8, at.utc, at.utc
    from (select $9::timestamp at time zone 'utc' as utc) as at
    returning id, updated_at
), items as (
    insert into bouquet_items (bouquet_id, flower_id, position, quantity)
    select gate.id, item.flower_id, item.position, item.quantity
    from gate
    cross join jsonb_to_recordset($10::jsonb) as item (flower_id uuid, position int, quantity int)
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
