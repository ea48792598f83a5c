-- Notes what is told, and tells it: of the outbox of $1 the rows $2 are parked, the rows $3 are not any more, and $4 are
-- the events that say so. Both in one statement: what is noted was told, and once.
with parked as (
    insert into bridge.parked_rows (service, row_id, parked_at, event_type, about, traceparent)
    select $1, row.row_id, row.parked_at, row.event_type, row.about, row.traceparent
    from jsonb_to_recordset($2::text::jsonb) as row (
        row_id bigint, parked_at timestamptz, event_type text, about uuid, traceparent text
    )
),
gone as (
    delete from bridge.parked_rows
    where service = $1
    and row_id = any ($3::bigint[])
)
insert into bridge.outbox_messages (
    event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
)
select
    notice.event_id, notice.event_type, notice.routing_key, notice.about::text, notice.about, notice.payload,
    notice.headers, now()
from jsonb_to_recordset($4::text::jsonb) as notice (
    event_id uuid, event_type text, routing_key text, about uuid, payload jsonb, headers jsonb
)
