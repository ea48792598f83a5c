-- What there is of that which a bouquet is made of: which of the flowers $1 live, and whether there is the category
-- $2. Only for telling a client what it got wrong; what holds under races is the foreign keys.
select
    (
        select jsonb_agg(id)
        from flowers
        where id = any ($1::text[]::uuid[])
          and deleted_at is null
    ) as flowers,
    exists (select from categories where id = $2::uuid) as category
