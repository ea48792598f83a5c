-- A dead letter arrives: maybe again, for the broker repeats what was not acknowledged.
--
-- One that is open already stays one: it is told apart by queue and event. It counts another death only if this one is
-- later than the last that was seen, so that a repetition counts for nothing. The bridge's own word of it ($12, none or
-- one) is written by the same statement, and only by the one that wrote the letter.
with letter as (
    insert into bridge.dead_letters as letter (
        queue, event_id, event_type, routing_key, ordering_key, reason, payload, body, properties, headers, died_at
    )
    values (
        $1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9::text::jsonb, $10::text::jsonb,
        to_timestamp($11::float8 / 1000)
    )
    on conflict (queue, event_id) where resolved_at is null
    do update set
        deaths = letter.deaths + 1,
        died_at = excluded.died_at,
        reason = excluded.reason,
        headers = excluded.headers
    where excluded.died_at > letter.died_at
    returning deaths
)
insert into bridge.outbox_messages (
    event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
)
select
    notice.event_id, notice.event_type, notice.routing_key, notice.about::text, notice.about, notice.payload,
    notice.headers, now()
from letter
cross join jsonb_to_recordset($12::text::jsonb) as notice (
    event_id uuid, event_type text, routing_key text, about uuid, payload jsonb, headers jsonb
)
where letter.deaths = 1
