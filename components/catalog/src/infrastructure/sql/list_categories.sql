-- A page of the categories, newest first, and how many there are in all. One row without a category says the count of
-- a page that is empty.
with page as (
    select id, name, description, version, created_at at time zone 'utc' as created_at
    from categories
    order by id desc
    limit $2::int8 offset $1::int8
)
select counted.total, page.*
from (select count(*) as total from categories) as counted
left join page on true
order by page.id desc
