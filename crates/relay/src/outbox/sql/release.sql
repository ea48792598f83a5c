-- Gives up the partitions $2.
select pg_advisory_unlock($1, partition)
from unnest($2::int[]) as surplus (partition)
