-- The parked rows that wait for an operator, $1 at most, and of their events what says what they are about.
select
    id, parked_at, event_type,
    jsonb_build_object(
        'source', payload -> 'source', 'traceparent', payload -> 'traceparent', 'data', payload -> 'data'
    ) as event
from {schema}.outbox_messages
where parked_at is not null
and processed_at is null
order by id
limit $1
