-- Rows that nobody can route or that cannot be encoded: one more attempt each, then parked.
--
-- $1 rows   $2 reasons   $3 attempts after which a row is parked   $4 the first wait in seconds, doubled each time
-- $5 the longest wait in seconds
--
-- Until it is parked, a row holds back the later ones of its key. Those are put off with it, in the same statement,
-- so that a poll need not walk past all of them each time. A statement changes a row only once, hence `later.id >`;
-- of one key at most one row is in $1.
with failed as (
    update {schema}.outbox_messages m
    set attempts = m.attempts + 1,
        last_error = failure.reason,
        due_at = now() + make_interval(secs => least($4 * power(2, least(m.attempts, 30)), $5)),
        parked_at = case when m.attempts + 1 >= $3 then now() end
    from unnest($1::bigint[], $2::text[]) as failure (id, reason)
    where m.id = failure.id
    -- Not in the words of the partial indexes: one of them would be walked from end to end for each row.
    and coalesce(m.processed_at, m.parked_at) is null
    returning m.id, m.ordering_key, m.due_at, m.parked_at, m.attempts, m.last_error, m.event_type, m.routing_key
),
put_off as (
    update {schema}.outbox_messages later
    set due_at = failed.due_at
    from failed
    where later.ordering_key = failed.ordering_key
    and later.id > failed.id
    and later.processed_at is null
    and later.parked_at is null
    and later.due_at < failed.due_at
    and failed.parked_at is null
)
select id, ordering_key, event_type, routing_key, attempts, last_error, parked_at is not null as parked
from failed
