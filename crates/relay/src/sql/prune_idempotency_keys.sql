-- One step of pruning answers by idempotency key: removes the $1 oldest that are older than $2 seconds. Served by the
-- index on their age.
delete from {schema}.idempotency_keys
where ctid = any (
    array(
        select ctid
        from {schema}.idempotency_keys
        where created_at < now() - make_interval(secs => $2)
        order by created_at
        limit $1
    )
)
