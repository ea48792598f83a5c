-- Stores a changed category, if it still has the version $2 that was decided on. No row: too late.
update categories
set name = $3::text,
    description = $4::text,
    version = $5::int8
where id = $1::uuid
  and version = $2::int8
returning id
