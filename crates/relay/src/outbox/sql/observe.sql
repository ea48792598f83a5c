-- The heartbeat of a lease, and what it sees. $1 the lock class of this outbox.
-- Object 64 is the presence lock, which every relay holds shared; 0 to 63 are the partitions, held by one each.
select
    coalesce(bit_or(1::bigint << objid::bigint::int) filter (where objid::bigint < 64 and pid <> pg_backend_pid()), 0) as others,
    count(*) filter (where objid::bigint = 64) as relays
from pg_locks
where locktype = 'advisory'
and database = (select oid from pg_database where datname = current_database())
and classid = $1
and objsubid = 2
and granted
