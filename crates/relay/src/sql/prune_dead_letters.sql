-- One step of pruning dead letters: removes the $1 that were resolved first, more than $2 seconds ago. Those that are
-- open stay.
delete from {schema}.dead_letters
where ctid = any (
    array(
        select ctid
        from {schema}.dead_letters
        where resolved_at < now() - make_interval(secs => $2)
        order by resolved_at
        limit $1
    )
)
