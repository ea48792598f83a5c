-- The rows to publish next, of a slice of what is due: oldest due first.
--
-- $1 most rows of the slice   $2 most bytes of bodies   $3 largest body   $4 whether every partition is ours
-- $5 our partitions   $6 rows that are on their way already   $7, $8 after which the slice begins: a due_at and an id
-- $9 most rows to publish
--
-- `slice` walks the partial index on (due_at, id), which holds neither processed nor parked rows, so its cost does not
-- depend on how many of those there are. Due is judged by this server's clock alone. Rows that were processed a moment
-- ago are in the index until it is cleaned: `floor` says where to begin, so that most polls need not walk past them.
-- The slice bounds what one poll does, however many rows wait behind others of their key.
--
-- Within one key, due_at is not in the order of the ids (it is the start of the writer's transaction, or put off), so a
-- row is taken only if no earlier one of its key still waits, due or not. That is a scalar subquery on purpose: it is
-- answered by one probe of the index on (ordering_key, id), and cannot be turned into a join over the whole backlog.
-- Of a key only the first row of the slice is probed for: no other can be the first. The probe asks for what comes first
-- from the beginning of its key on, which is of that key, for the candidate is: that order only one index has.
--
-- The partition is a byte of a hash whose value is documented never to change, and that a FIPS build has too. It is
-- computed nowhere but here.
--
-- There is always a row: what the slice was. The rows to publish are joined to it.
with slice as materialized (
    select
        m.id,
        m.due_at,
        m.event_type,
        m.routing_key,
        m.ordering_key,
        get_byte(sha256(convert_to(m.ordering_key, 'UTF8')), 0) & 63 as partition,
        m.payload,
        m.headers
    from {schema}.outbox_messages m
    where m.processed_at is null
    and m.parked_at is null
    and m.due_at <= now()
    and (m.due_at, m.id) > ($7::timestamptz, $8::bigint)
    order by m.due_at, m.id
    limit $1
),
waiting as (
    select *
    from slice
    where ($4 or partition = any ($5::int[]))
    and id <> all ($6::bigint[])
),
ready as (
    select
        *,
        payload::text as body
    from (
        select distinct on (ordering_key) *
        from waiting
        order by ordering_key, id
    ) candidate
    where id = (
        select first.id
        from {schema}.outbox_messages first
        where (first.ordering_key, first.id) >= (candidate.ordering_key, 0)
        and first.processed_at is null
        and first.parked_at is null
        order by first.ordering_key, first.id
        limit 1
    )
),
taken as (
    select *
    from (
        select *, octet_length(body) as bytes, sum(octet_length(body)) over (order by due_at, id) as total
        from ready
    ) sized
    where total - bytes < $2
    order by due_at, id
    limit $9
)
select
    edges.*,
    taken.id,
    taken.due_at,
    taken.event_type,
    taken.routing_key,
    taken.ordering_key,
    taken.partition,
    case when taken.bytes <= $3 then taken.body end as body,
    taken.headers::text as headers
from (
    select
        count(*) as size,
        (array_agg(due_at order by due_at, id))[1] as first_due,
        (array_agg(id order by due_at, id))[1] as first_id,
        (array_agg(due_at order by due_at desc, id desc))[1] as last_due,
        (array_agg(id order by due_at desc, id desc))[1] as last_id,
        (select count(*) from waiting) > (select count(*) from taken) as skipped
    from slice
) edges
left join taken on true
order by taken.due_at, taken.id
