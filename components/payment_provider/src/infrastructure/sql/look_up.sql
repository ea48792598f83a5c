-- The charge that was made under the key $1. No row: none was.
select
    transaction_id, failure_reason, false as is_first,
    greatest(0, ceil(extract(epoch from settles_at - clock_timestamp()) * 1000))::int8 as settles_in_ms
from charges
where key = $1::text
