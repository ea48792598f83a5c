-- One flower.
select
    id, name, description, price_minor, stock_quantity, flower_type, image_url, version,
    created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at
from flowers
where id = $1::uuid
  and deleted_at is null
