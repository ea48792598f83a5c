-- All of the row $1 of the outbox of $2, parked or not. $3 the field that says what an event is about.
select
    'outbox:' || $2::text || ':' || id as id, 'outbox:' || $2::text as queue, event_id::text as event_id, event_type,
    payload -> 'data' ->> $3::text as about, last_error as reason, attempts, parked_at, processed_at, occurred_at,
    due_at, routing_key, ordering_key, headers, payload
from {schema}.outbox_messages
where id = $1
