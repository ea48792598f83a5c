-- Corrects the stock of a flower by so much, whatever it is by now: it depends on no version, so that corrections and
-- sales of a flower in demand all count. It changes neither name nor price, so no event tells of it. No row: there is
-- no such flower, or its stock would leave its bounds of 0 to $3.
update flowers
set stock_quantity = stock_quantity + $2::int4,
    version = version + 1,
    updated_at = greatest(updated_at, $4::timestamp at time zone 'utc')
where id = $1::uuid
  and deleted_at is null
  and stock_quantity + $2::int4 between 0 and $3::int4
returning
    id, name, description, price_minor, stock_quantity, flower_type, image_url, version,
    created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at
