-- Parked rows, oldest first. $1 the field that says what an event is about   $2 types   $3 the least age in seconds
-- $4 what it is to be about; null is no choice.
select
    id, event_id::text, event_type, payload -> 'data' ->> $1::text as about, attempts, parked_at, last_error
from {schema}.outbox_messages
where parked_at is not null
and processed_at is null
and ($2::text[] is null or event_type = any ($2))
and parked_at <= now() - make_interval(secs => $3::float8)
and ($4::text is null or payload -> 'data' ->> $1::text = $4)
order by parked_at, id
