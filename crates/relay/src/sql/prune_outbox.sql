-- One step of pruning an outbox: looks at the $2 rows after id $1 and removes those processed more than $3 seconds ago.
-- Walks the primary key from the oldest row on, so a step costs the same however long the table is. Tells how far it
-- came, and whether it came to rows that are too young: behind those is nothing to remove.
with step as (
    select id, processed_at
    from {schema}.outbox_messages
    where id > $1
    order by id
    limit $2
),
removed as (
    delete from {schema}.outbox_messages m
    using step
    where m.id = step.id
    and step.processed_at < now() - make_interval(secs => $3)
    returning m.id
)
select
    (select max(id) from step) as reached,
    (select count(*) from removed) as removed,
    coalesce((select bool_or(processed_at >= now() - make_interval(secs => $3)) from step), true) as done
