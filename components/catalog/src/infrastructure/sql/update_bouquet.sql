-- Stores what a change or a deletion comes to, the bouquet's flowers and the event that tells of it, if the bouquet
-- still has the version $2 that was decided on: everything selects from the update, which finds another version under
-- the row's lock if somebody was faster. No row: too late.
--
-- Items that stay are updated and the others deleted, so that no row is written twice. A deleted bouquet lets go of
-- its flowers and its category.
with gate as (
    update bouquets
    set name = $3::text,
        description = $4::text,
        price_minor = $5::int8,
        currency = $6::text,
        category_id = case when not $10::bool then $7::uuid end,
        image_url = $8::text,
        version = $9::int8,
        updated_at = $11::timestamp at time zone 'utc',
        deleted_at = case when $10::bool then $11::timestamp at time zone 'utc' end
    where id = $1::uuid
      and version = $2::int8
      and deleted_at is null
    returning id, updated_at
), item as (
    select item.flower_id, item.position, item.quantity
    from jsonb_to_recordset($12::jsonb) as item (flower_id uuid, position int, quantity int)
    where not $10::bool
), gone as (
    delete from bouquet_items
    using gate
    where bouquet_items.bouquet_id = gate.id
      and bouquet_items.flower_id not in (select flower_id from item)
), items as (
    insert into bouquet_items (bouquet_id, flower_id, position, quantity)
    select gate.id, item.flower_id, item.position, item.quantity
    from gate
    cross join item
    on conflict (bouquet_id, flower_id) do update
    set position = excluded.position,
        quantity = excluded.quantity
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
