-- What the bridge ($2) may do in the schema $1: carry the outbox, prune what has been kept long enough, and show what the
-- service says of itself.
select statement
from (
    values
    (1, format('grant usage on schema %I to %I', $1::text, $2::text)),
    (2, case when to_regclass(format('%I.outbox_messages', $1::text)) is not null
        then format('grant select, update, delete on %I.outbox_messages to %I', $1::text, $2::text) end),
    (3, case when to_regclass(format('%I.inbox', $1::text)) is not null
        then format('grant select, delete on %I.inbox to %I', $1::text, $2::text) end),
    (4, case when to_regclass(format('%I.idempotency_keys', $1::text)) is not null
        then format('grant select, delete on %I.idempotency_keys to %I', $1::text, $2::text) end),
    (5, case when to_regclass(format('%I.gauges', $1::text)) is not null
        then format('grant select on %I.gauges to %I', $1::text, $2::text) end)
) as statements (place, statement)
order by place
