-- Stores a user's role and activity, if they still have the version before $2, and ends their sessions if $5 says so.
--
-- Who removes an active admin ($6) first locks all active admins, each in the order of their ids: of two who remove each
-- other, one waits, and then no longer finds the other among them. Their count is asked for before the update, which
-- reads all of them, so that none is counted that is not locked.
with admins as materialized (
    select id
    from users
    where $6::bool
      and role = 'admin'
      and is_active
    order by id
    for no key update
), others as materialized (
    select count(*) > 0 as exist
    from admins
    where id <> $1::uuid
), stored as (
    update users
    set role = $3::text,
        is_active = $4::bool,
        session_epoch = session_epoch + $5::bool::int4,
        version = $2::int8,
        updated_at = greatest(updated_at, $7::timestamp at time zone 'utc')
    from others
    where users.id = $1::uuid
      and users.version = $2::int8 - 1
      and (others.exist or not $6::bool)
    returning users.id
)
select exists (select from stored) as is_stored, others.exist as has_others
from others
