-- The rows to publish next, oldest due first.
--
-- $1 most rows   $2 most bytes of bodies   $3 largest body   $4 whether every partition is ours
-- $5 our partitions   $6 rows that are on their way already   $7, $8 where to begin: a due_at and an id
--
-- Walks the partial index on (due_at, id), which holds neither processed nor parked rows, so its cost does not depend
-- on how many of those there are. Due is judged by this server's clock alone. Rows that were processed a moment ago are
-- in the index until it is cleaned: beginning where the last poll did spares most polls from walking past them.
--
-- Within one key, due_at is not in the order of the ids (it is the start of the writer's transaction, or put off), so a
-- row is taken only if no earlier one of its key still waits, due or not. That is a scalar subquery on purpose: it is
-- answered by one probe of the index on (ordering_key, id), and cannot be turned into a join over the whole backlog.
--
-- The partition is a byte of a hash whose value is documented never to change, and that a FIPS build has too. It is
-- computed nowhere but here.
select
    id,
    due_at,
    event_type,
    routing_key,
    ordering_key,
    partition,
    case when bytes <= $3 then body end as body,
    headers
from (
    select *, sum(bytes) over (order by due_at, id rows unbounded preceding) as total
    from (
        select *, octet_length(body) as bytes
        from (
            select
                m.id,
                m.due_at,
                m.event_type,
                m.routing_key,
                m.ordering_key,
                get_byte(sha256(convert_to(m.ordering_key, 'UTF8')), 0) & 63 as partition,
                m.payload::text as body,
                m.headers::text as headers
            from {schema}.outbox_messages m
            where m.processed_at is null
            and m.parked_at is null
            and m.due_at <= now()
            and (m.due_at, m.id) >= ($7::timestamptz, $8::bigint)
            and m.id <> all ($6::bigint[])
            and ($4 or get_byte(sha256(convert_to(m.ordering_key, 'UTF8')), 0) & 63 = any ($5::int[]))
            and m.id = (
                select first.id
                from {schema}.outbox_messages first
                where first.ordering_key = m.ordering_key
                and first.processed_at is null
                and first.parked_at is null
                order by first.id
                limit 1
            )
            order by m.due_at, m.id
            limit $1
        ) due
    ) sized
) bounded
where total - bytes < $2
order by due_at, id
