-- $1 rows of $2 keys in turns, due in $3 seconds, with the routing key $4 and a body of $5 bytes.
insert into ordering.outbox_messages (
    event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at, due_at
)
select
    gen_random_uuid(), 'BenchHappened', $4, key, key::uuid,
    jsonb_build_object('data', repeat('x', ($5::bigint - length('{"data": ""}'))::int)), now(),
    now() + make_interval(secs => $3)
from (
    select md5(salt || number % $2::bigint) as key
    from generate_series(1, $1::bigint) as number
    cross join (select gen_random_uuid()::text as salt) as drawn
) as row
