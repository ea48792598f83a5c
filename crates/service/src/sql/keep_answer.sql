-- Keeps the answer to a keyed request that changed nothing, or gives the one that was kept before.
--
-- The key's row is the gate. Its lock lasts as long as this statement: who does not get it meets the same request in
-- flight. Who gets it just after another has stored does not see that row yet, for its snapshot is older; its insert
-- does, and stores nothing: no row known, none stored, and the statement is tried again. A row that is older than a
-- day is as good as none.
with given as (
    select *
    from jsonb_to_record($1::jsonb) as given (user_id uuid, scope text, key text, body_sha256 text, answer jsonb)
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
)
select exists (select from stored) as is_stored, lock.is_held, known.is_same_body, known.answer, known.since
from lock
left join known on true
