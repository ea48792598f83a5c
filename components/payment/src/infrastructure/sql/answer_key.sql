-- Sets the answer to the keyed request $1 that began with the payment $2, or gives the one that was set before. The row
-- decides: of two at once the later one finds an answer and sets none. Its snapshot may be too old to show it: neither
-- set nor known, and the statement is tried again.
with given as (
    select *
    from jsonb_to_record($1::jsonb) as given (user_id uuid, scope text, key text, body_sha256 text, answer jsonb)
), known as (
    select
        kept.body_sha256 = decode(given.body_sha256, 'hex') as is_same_body, kept.answer,
        kept.created_at at time zone 'utc' as since
    from given
    join idempotency_keys as kept using (user_id, scope, key)
), answered as (
    update idempotency_keys as kept
    set answer = given.answer
    from given
    where kept.user_id = given.user_id
      and kept.scope = given.scope
      and kept.key = given.key
      and kept.payment_id = $2::uuid
      and kept.answer is null
    returning true
)
select
    exists (select from answered) as is_stored, true as is_held, known.is_same_body, known.answer, known.since
from given
left join known on true
