-- What the outbox in the schema $1 lacks: the table, or an index without which every poll would walk all of it; null if
-- nothing. An index that is not valid, for it is being built or could not be, is none.
select string_agg(wanted.what, ', ' order by wanted.place)
from (
    values
    (1, 'table outbox_messages', 'outbox_messages', 'r'),
    (2, 'index outbox_messages_due', 'outbox_messages_due', 'i'),
    (3, 'index outbox_messages_key', 'outbox_messages_key', 'i')
) as wanted (place, what, name, kind)
where not exists (
    select
    from pg_class found
    left join pg_index on pg_index.indexrelid = found.oid
    where found.oid = to_regclass(format('%I.%I', $1::text, wanted.name))
    and (found.relkind = wanted.kind::"char" or (wanted.kind = 'r' and found.relkind = 'p'))
    and (
        wanted.kind = 'r'
        or (pg_index.indisvalid and pg_index.indrelid = to_regclass(format('%I.outbox_messages', $1::text)))
    )
)
