-- Stores what a keyed request comes to: the payment $3 of the order $1, what it tells, and what that says of the
-- request's key $5, or nothing of it. As store_changes.sql, whose comment holds here too; $2 is the version of the order
-- that was decided on, and nothing else of the order changes.
--
-- A key without an answer begins here. Its row is inserted only where the version lets the change through, and is part
-- of the gate: no row, no change. The lock and what is known of the key are those of keep_answer.sql, and so is the race
-- of an older snapshot: it is the insert that decides.
--
-- A key with an answer has begun. The answer is set if the change is stored and there is none yet; it is no part of the
-- gate, for the change stands whoever has answered.
with payment as (
    select *
    from jsonb_to_record($3::jsonb) as payment (
        id uuid, order_id uuid, attempt int, user_id uuid, amount_minor bigint, currency text, status text,
        payment_method text, transaction_id text, failure_reason text, created_at timestamptz,
        updated_at timestamptz
    )
), given as (
    select *
    from jsonb_to_record($5::jsonb) as given (user_id uuid, scope text, key text, body_sha256 text, answer jsonb)
), lock as materialized (
    select pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', user_id, scope, key), 0)) as is_held
    from given
    where answer is null
), known as (
    select
        kept.body_sha256 = decode(given.body_sha256, 'hex') as is_same_body, kept.answer,
        kept.created_at at time zone 'utc' as since
    from given
    join idempotency_keys as kept using (user_id, scope, key)
    where kept.created_at > now() - interval '24 hours'
), unchanged as (
    select id
    from orders
    where id = $1::uuid
      and version = $2::int8
    for update
), begun as (
    insert into idempotency_keys (user_id, scope, key, body_sha256, payment_id)
    select given.user_id, given.scope, given.key, decode(given.body_sha256, 'hex'), payment.id
    from unchanged
    cross join payment
    cross join given
    cross join lock
    where lock.is_held
      and not exists (select from known)
    on conflict (user_id, scope, key) do update
    set body_sha256 = excluded.body_sha256,
        answer = null,
        payment_id = excluded.payment_id,
        created_at = now()
    where idempotency_keys.created_at <= now() - interval '24 hours'
    returning true
), gate as (
    select id
    from unchanged
    where not exists (select from lock)
       or exists (select from begun)
), state as (
    update orders
    set version = orders.version + 1
    from gate
    where orders.id = gate.id
    returning orders.id
), paid as (
    insert into payments (
        id, order_id, attempt, user_id, amount_minor, currency, status, payment_method, transaction_id,
        failure_reason, created_at, updated_at
    )
    select
        payment.id, state.id, payment.attempt, payment.user_id, payment.amount_minor, payment.currency,
        payment.status, payment.payment_method, payment.transaction_id, payment.failure_reason, payment.created_at,
        payment.updated_at
    from payment
    join state on state.id = payment.order_id
    on conflict (id) do update
    set status = excluded.status,
        transaction_id = excluded.transaction_id,
        failure_reason = excluded.failure_reason,
        updated_at = excluded.updated_at
    returning id
), answered as (
    update idempotency_keys as kept
    set answer = given.answer
    from paid
    cross join given
    where kept.user_id = given.user_id
      and kept.scope = given.scope
      and kept.key = given.key
      and kept.payment_id = paid.id
      and kept.answer is null
      and given.answer is not null
    returning true
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at, due_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, now(), coalesce(message.due_at, now())
    from rows from (
        jsonb_to_recordset($4::jsonb) as (
            event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
            headers jsonb, due_at timestamptz
        )
    ) with ordinality as message (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, due_at, place
    )
    join paid on paid.id = message.aggregate_id
    order by message.place
)
select
    exists (select from state) as is_changed,
    exists (select from begun) or exists (select from answered) as is_stored,
    coalesce(lock.is_held, true) as is_held, known.is_same_body, known.answer, known.since
from given
left join lock on true
left join known on true
