-- A new category. Nobody outside the catalog needs to hear of it.
insert into categories (id, name, description, version, created_at)
values ($1::uuid, $2::text, $3::text, $4::int8, $5::timestamp at time zone 'utc')
