-- What can be bought of the products $1, at the price that the catalog told last.
select id, kind, price_minor
from catalog_items
where id = any ($1::text[]::uuid[])
  and not deleted
