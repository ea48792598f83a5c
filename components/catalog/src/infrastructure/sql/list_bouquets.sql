-- A page of the matching bouquets with their flowers, newest first, and how many match in all. One row without a
-- bouquet says the count of a page that is empty.
with matching as not materialized (
    select id
    from bouquets
    where deleted_at is null
      and ($1::uuid is null or category_id = $1::uuid)
), page as (
    select
        id, name, description, price_minor, category_id, image_url, version,
        created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at,
        (
            select jsonb_agg(to_jsonb(item) order by item.position)
            from bouquet_items as item
            where item.bouquet_id = bouquets.id
        ) as items
    from bouquets
    where id in (select id from matching order by id desc limit $3::int8 offset $2::int8)
)
select counted.total, page.*
from (select count(*) as total from matching) as counted
left join page on true
order by page.id desc
