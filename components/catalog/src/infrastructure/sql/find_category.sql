-- One category.
select id, name, description, version, created_at at time zone 'utc' as created_at
from categories
where id = $1::uuid
