-- Takes those of the partitions $2 that nobody holds; the locks last as long as the session.
select partition
from unnest($2::int[]) as wanted (partition)
where pg_try_advisory_lock($1, partition)
