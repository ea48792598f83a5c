-- How many rows are due, counted up to 10,001 so that a long backlog does not make this slow, and since when.
select count(*) as pending, coalesce(extract(epoch from now() - min(due_at)), 0)::float8 as oldest_seconds
from (
    select due_at
    from {schema}.outbox_messages
    where processed_at is null
    and parked_at is null
    and due_at <= now()
    order by due_at, id
    limit 10001
) due
