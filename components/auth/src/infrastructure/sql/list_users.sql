-- A page of the matching users, newest first, and how many match in all. One row without a user says the count of a page
-- that is empty. `matching` is read twice, each time by the index that fits: not materialized.
with matching as not materialized (
    select id
    from users
    where ($1::text is null or email_key = $1::text)
      and ($2::text is null or role = $2::text)
      and ($3::bool is null or is_active = $3::bool)
), page as (
    select id, email, full_name, role, is_active, version, created_at at time zone 'utc' as created_at
    from users
    where id in (select id from matching order by id desc limit $5::int8 offset $4::int8)
)
select counted.total, page.*
from (select count(*) as total from matching) as counted
left join page on true
order by page.id desc
