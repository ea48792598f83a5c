-- One bouquet with its flowers.
select
    id, name, description, price_minor, category_id, image_url, version,
    created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at,
    (
        select jsonb_agg(to_jsonb(item) order by item.position)
        from bouquet_items as item
        where item.bouquet_id = bouquets.id
    ) as items
from bouquets
where id = $1::uuid
  and deleted_at is null
