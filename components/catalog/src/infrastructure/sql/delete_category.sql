-- Deletes a category, if it still has the version $2 that was decided on; the foreign key of the bouquets refuses it
-- while there is one in it. No row: too late.
delete from categories
where id = $1::uuid
  and version = $2::int8
returning id
