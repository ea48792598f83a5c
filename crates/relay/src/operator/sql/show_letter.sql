-- All of letter $1, open or not. $2 the field that says what an event is about. A body that is no JSON is shown with
-- its other bytes escaped.
select
    'letter:' || id as id, queue, event_id, event_type, payload -> 'data' ->> $2::text as about, reason, deaths,
    died_at, received_at, resolved_at, resolution, routing_key, ordering_key, properties, headers,
    coalesce(payload, to_jsonb(encode(body, 'escape'))) as payload
from bridge.dead_letters
where id = $1
