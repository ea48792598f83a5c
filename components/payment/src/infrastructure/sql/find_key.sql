-- What is known of the key $1, how old that is in milliseconds, and the payment that began under it. No row: the key
-- was not used, or a day ago.
with given as (
    select *
    from jsonb_to_record($1::jsonb) as given (user_id uuid, scope text, key text, body_sha256 text)
)
select
    false as is_stored, true as is_held, kept.body_sha256 = decode(given.body_sha256, 'hex') as is_same_body,
    kept.answer, kept.created_at at time zone 'utc' as since,
    (extract(epoch from now() - kept.created_at) * 1000)::int8 as age_ms,
    payments.id, payments.order_id, payments.attempt, payments.user_id, payments.amount_minor, payments.status,
    payments.payment_method, payments.transaction_id, payments.failure_reason,
    payments.created_at at time zone 'utc' as created_at, payments.updated_at at time zone 'utc' as updated_at
from given
join idempotency_keys as kept on (kept.user_id, kept.scope, kept.key) = (given.user_id, given.scope, given.key)
left join payments on payments.id = kept.payment_id
where kept.created_at > now() - interval '24 hours'
