-- A page of the rows that were published since $1, after the row $2 of that very moment. $3 types, null for all
-- $4 the most rows. Walks the index on processed_at. What was discarded was not published.
select
    id, ordering_key, processed_at, parked_at is null and ($3::text[] is null or event_type = any ($3)) as wanted
from {schema}.outbox_messages
where processed_at >= $1
and (processed_at, id) > ($1, $2)
order by processed_at, id
limit $4
