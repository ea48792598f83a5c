-- A page of the matching flowers, newest first, and how many match in all. One row without a flower says the count of
-- a page that is empty. $2 is a literal substring of the name: no character of it is a wildcard. `not materialized`
-- lets the page stop at its limit and the count walk an index alone.
with matching as not materialized (
    select id
    from flowers
    where deleted_at is null
      and ($1::text is null or flower_type = $1::text)
      and ($2::text is null or strpos(name_folded, lower(upper($2::text))) > 0)
), page as (
    select
        id, name, description, price_minor, stock_quantity, flower_type, image_url, version,
        created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at
    from flowers
    where id in (select id from matching order by id desc limit $4::int8 offset $3::int8)
)
select counted.total, page.*
from (select count(*) as total from matching) as counted
left join page on true
order by page.id desc
