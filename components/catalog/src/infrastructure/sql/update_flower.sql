-- Stores what a change or a deletion comes to, and the event that tells of it, if the flower still has the version $2
-- that was decided on: of two writers the later finds another version under the row's lock, and nothing of its
-- statement happens. The event selects from the update, so its outbox id is drawn under that lock. No row: too late.
with gate as (
    update flowers
    set name = $3::text,
        description = $4::text,
        price_minor = $5::int8,
        currency = $6::text,
        stock_quantity = $7::int4,
        flower_type = $8::text,
        image_url = $9::text,
        version = $10::int8,
        updated_at = $11::timestamp at time zone 'utc',
        deleted_at = case when $12::bool then $11::timestamp at time zone 'utc' end
    where id = $1::uuid
      and version = $2::int8
      and deleted_at is null
    returning id, updated_at
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, gate.updated_at
    from gate
    cross join jsonb_to_recordset($13::jsonb) as message (
        event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
        headers jsonb
    )
)
select id
from gate
