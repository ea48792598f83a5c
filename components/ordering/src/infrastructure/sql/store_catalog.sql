-- Takes over what the catalog told, where it is newer than what is known: the version decides, so that neither a
-- repeat nor a late event undoes anything. Rows come in the order of their ids, so that two batches never wait for
-- each other in a circle. An event that was handled before leaves no trace.
with change as (
    select *
    from jsonb_to_recordset($1::jsonb) as change (
        id uuid, kind text, name text, price_minor bigint, currency text, version bigint, deleted boolean
    )
), gate as (
    insert into catalog_items (id, kind, name, price_minor, currency, version, deleted)
    select id, kind, name, price_minor, currency, version, deleted
    from change
    order by id
    on conflict (id) do update
    set name = excluded.name,
        price_minor = excluded.price_minor,
        currency = excluded.currency,
        version = excluded.version,
        deleted = excluded.deleted
    where catalog_items.version < excluded.version
)
insert into inbox (event_id)
select handled.event_id
from jsonb_to_recordset($2::jsonb) as handled (event_id uuid)
on conflict do nothing
