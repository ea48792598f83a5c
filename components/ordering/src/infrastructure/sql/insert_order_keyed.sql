-- What insert_order.sql does, for a request with an idempotency key: $14, with the answer. A statement of its own, for
-- planning what the key needs costs as much as all the rest.
--
-- The order is inserted only if the key's row was `stored`; the lock, what is known of the key, and the race of an older
-- snapshot are those of keep_answer.sql.
with given as (
    select *
    from jsonb_to_record($14::jsonb) as given (user_id uuid, scope text, key text, body_sha256 text, answer jsonb)
), lock as materialized (
    select pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', user_id, scope, key), 0)) as is_held
    from given
), known as (
    select
        kept.body_sha256 = decode(given.body_sha256, 'hex') as is_same_body, kept.answer,
        kept.created_at at time zone 'utc' as since
    from given
    join idempotency_keys as kept using (user_id, scope, key)
    where kept.created_at > now() - interval '24 hours'
), stored as (
    insert into idempotency_keys (user_id, scope, key, body_sha256, answer)
    select given.user_id, given.scope, given.key, decode(given.body_sha256, 'hex'), given.answer
    from given
    cross join lock
    where lock.is_held
      and not exists (select from known)
    on conflict (user_id, scope, key) do update
    set body_sha256 = excluded.body_sha256,
        answer = excluded.answer,
        created_at = now()
    where idempotency_keys.created_at <= now() - interval '24 hours'
    returning true
), gate as (
    insert into orders (
        id, user_id, status, total_minor, currency, delivery_address, payment_method, created_at, updated_at,
        payment_due_at
    )
    select
        $1::uuid, $2::uuid, $3::text, $4::int8, $5::text, $6::text, $7::text, at.utc, at.utc,
        $9::timestamp at time zone 'utc'
    from (select $8::timestamp at time zone 'utc' as utc) as at
    where exists (select from stored)
    returning id, status, version, created_at
), items as (
    insert into order_items (id, order_id, position, flower_id, bouquet_id, quantity, price_minor)
    select item.id, gate.id, item.position, item.flower_id, item.bouquet_id, item.quantity, item.price_minor
    from gate
    cross join jsonb_to_recordset($10::jsonb) as item (
        id uuid, position int, flower_id uuid, bouquet_id uuid, quantity int, price_minor bigint
    )
), history as (
    insert into order_history (order_id, version, position, status, at, cause, trace_id)
    select gate.id, gate.version, 0, gate.status, gate.created_at, $11::text, $12::text
    from gate
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at, due_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, gate.created_at, coalesce(message.due_at, now())
    from gate
    cross join jsonb_to_recordset($13::jsonb) as message (
        event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
        headers jsonb, due_at timestamptz
    )
)
select
    exists (select from gate) as is_stored, lock.is_held, known.is_same_body, known.answer, known.since
from lock
left join known on true
