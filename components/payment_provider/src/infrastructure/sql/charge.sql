-- Makes the charge $1 and gives it, or the one that was made under this key before. The key decides: two calls at
-- once make one charge, and the call that waited for the other sees no row at all, for its snapshot is older.
with made as (
    insert into charges (
        key, amount_minor, currency, method, outcome, transaction_id, failure_reason, settles_at
    )
    values (
        $1::text, $2::int8, $3::text, $4::text, $5::text, $6::text, $7::text,
        now() + $8::int8 * interval '1 millisecond'
    )
    on conflict (key) do nothing
    returning transaction_id, failure_reason, settles_at, true as is_first
), charge as (
    select transaction_id, failure_reason, settles_at, is_first
    from made
    union all
    select transaction_id, failure_reason, settles_at, false
    from charges
    where key = $1::text
)
select
    transaction_id, failure_reason, is_first,
    greatest(0, ceil(extract(epoch from settles_at - clock_timestamp()) * 1000))::int8 as settles_in_ms
from charge
