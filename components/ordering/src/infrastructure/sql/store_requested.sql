-- Stores what a request makes of one order: its state, history and outbox, and the answer under the request's key, or
-- nothing of it.
--
-- `unchanged` locks the order if it still has the version that was decided on. $4 is the key with its answer, `null`
-- without one; the lock, what is known of the key, and the race of an older snapshot are those of keep_answer.sql. The
-- key's row is `stored` only for an order that is unchanged, and `gate` lets that order through only if no key was
-- given or the row was stored: so neither is there without the other. Everything else selects from the gate. A row that
-- knows no key and stored nothing is one to decide again.
with change as (
    select *
    from jsonb_to_record($1::jsonb) as change (
        order_id uuid, version bigint, status text, status_reason text, payment_attempt int,
        stock_reserved boolean, at timestamptz
    )
), given as (
    select *
    from jsonb_to_record(nullif($4::jsonb, 'null')) as given (
        user_id uuid, scope text, key text, body_sha256 text, answer jsonb
    )
    where key is not null
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
), unchanged as materialized (
    select orders.id
    from orders
    join change on change.order_id = orders.id and change.version = orders.version
    where not exists (select from lock where not is_held)
      and not exists (select from known)
    for update of orders
), stored as (
    insert into idempotency_keys (user_id, scope, key, body_sha256, answer)
    select given.user_id, given.scope, given.key, decode(given.body_sha256, 'hex'), given.answer
    from unchanged
    cross join given
    on conflict (user_id, scope, key) do update
    set body_sha256 = excluded.body_sha256,
        answer = excluded.answer,
        created_at = now()
    where idempotency_keys.created_at <= now() - interval '24 hours'
    returning true
), gate as (
    select id
    from unchanged
    where not exists (select from given)
       or exists (select from stored)
), state as (
    update orders
    set status = change.status,
        status_reason = change.status_reason,
        payment_attempt = change.payment_attempt,
        stock_reserved = change.stock_reserved,
        version = orders.version + 1,
        updated_at = change.at
    from change
    join gate on gate.id = change.order_id
    where orders.id = change.order_id
    returning orders.id, orders.version
), history as (
    insert into order_history (order_id, version, position, status, at, cause, event_id, trace_id)
    select state.id, state.version, item.position, item.status, item.at, item.cause, item.event_id, item.trace_id
    from state
    cross join jsonb_to_recordset($2::jsonb) as item (
        position int, status text, at timestamptz, cause text, event_id uuid, trace_id text
    )
), outbox as (
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at, due_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, now(), coalesce(message.due_at, now())
    from state
    cross join jsonb_to_recordset($3::jsonb) as message (
        event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid, payload jsonb,
        headers jsonb, due_at timestamptz
    )
)
select
    exists (select from state) as is_stored, coalesce((select is_held from lock), true) as is_held,
    known.is_same_body, known.answer, known.since
from (select) as one
left join known on true
