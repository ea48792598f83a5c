-- What was told of the outbox of $1 and is not among its parked rows ($2) any more, with what became of it: the last act
-- says so; without one somebody else had it published.
select
    told.row_id, told.event_type, told.about, told.traceparent,
    coalesce(
        (
            select act.act
            from bridge.dead_letter_acts act
            where act.subject = 'outbox:' || told.service || ':' || told.row_id
            and act.at >= told.parked_at
            order by act.id desc
            limit 1
        ),
        'retried'
    ) as resolution
from bridge.parked_rows told
where told.service = $1
and told.row_id <> all ($2::bigint[])
