-- Letters that are open, oldest first. $1 the field that says what an event is about   $2 types   $3 the least age in
-- seconds   $4 what it is to be about; null is no choice.
select
    id, queue, event_id, event_type, payload -> 'data' ->> $1::text as about, deaths, died_at, reason
from bridge.dead_letters
where resolved_at is null
and ($2::text[] is null or event_type = any ($2))
and died_at <= now() - make_interval(secs => $3::float8)
and ($4::text is null or payload -> 'data' ->> $1::text = $4)
order by died_at, id
