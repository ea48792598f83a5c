-- Puts $1 flowers into the catalog, each with more than anybody will order, and into what ordering knows of it.
with flower as (
    insert into catalog.flowers (
        id, name, price_minor, currency, stock_quantity, flower_type, created_at, updated_at
    )
    select gen_random_uuid(), 'Bench Tulip', 15000, 'RUB', 1000000000, 'tulip', now(), now()
    from generate_series(1, $1::bigint)
    returning id, name, price_minor, currency, version
), known as (
    insert into ordering.catalog_items (id, kind, name, price_minor, currency, version, deleted)
    select id, 'flower', name, price_minor, currency, version, false
    from flower
)
select array_agg(id)::text
from flower
