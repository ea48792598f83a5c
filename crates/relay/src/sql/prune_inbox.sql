-- One step of pruning an inbox: looks at the $2 ids after $1 and removes those received more than $3 seconds ago.
-- Event ids are UUIDs of version 7, so the primary key is in the order of time and is walked from the oldest on.
with step as (
    select event_id, received_at
    from {schema}.inbox
    where event_id > $1
    order by event_id
    limit $2
),
removed as (
    delete from {schema}.inbox i
    using step
    where i.event_id = step.event_id
    and step.received_at < now() - make_interval(secs => $3)
    returning i.event_id
)
select
    (select event_id from step order by event_id desc limit 1) as reached,
    (select count(*) from removed) as removed,
    coalesce((select bool_or(received_at >= now() - make_interval(secs => $3)) from step), true) as done
