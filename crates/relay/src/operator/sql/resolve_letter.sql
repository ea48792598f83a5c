-- Letter $1 is resolved in the way $2, and the bridge tells of it ($3: none or one).
with letter as (
    update bridge.dead_letters
    set resolved_at = now(),
        resolution = $2
    where id = $1
    returning id
)
insert into bridge.outbox_messages (
    event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
)
select
    notice.event_id, notice.event_type, notice.routing_key, notice.about::text, notice.about, notice.payload,
    notice.headers, now()
from letter
cross join jsonb_to_recordset($3::text::jsonb) as notice (
    event_id uuid, event_type text, routing_key text, about uuid, payload jsonb, headers jsonb
)
