-- Counts an attempt to sign in before it is made, in each lane of $1 that lets it through.
--
-- A lane's row is its gate: whoever inserts or updates it sees what all before them did, so that of many at the same time
-- no more pass than may fail. Rows are locked in the order of their keys, here and when an attempt is settled.
--
-- What a refusal says of the lanes is read from the statement's snapshot, which may be a moment old: then it depends on
-- attempts under way, and whoever asks tries again. An attempt of which nothing is heard for 10 s counts as failed: no
-- request lives that long.
with lanes as materialized (
    select
        decode(key, 'hex') as key, failures, make_interval(secs => within_seconds) as within,
        make_interval(secs => hold_seconds) as hold
    from jsonb_to_recordset($1::jsonb)
        as lane (key text, failures integer, within_seconds integer, hold_seconds integer)
), moment as materialized (
    select clock_timestamp() as at
), admitted as (
    insert into login_guesses as lane (key, allowed, within, hold, failed, pending, expires_at)
    select lanes.key, failures, within, hold, '{}', array[moment.at], moment.at + within
    from lanes
    cross join moment
    order by lanes.key
    on conflict (key) do update
    set allowed = excluded.allowed,
        within = excluded.within,
        hold = excluded.hold,
        failed = array(
            select at from unnest(lane.failed) as at where at > excluded.pending[1] - excluded.within
        ),
        pending = array(
            select at from unnest(lane.pending) as at where at > excluded.pending[1] - excluded.within
        ) || excluded.pending,
        expires_at = excluded.expires_at
    where (
        select count(*)
        from unnest(lane.failed || lane.pending) as at
        where at > excluded.pending[1] - excluded.within
    ) < excluded.allowed
    or not exists (
        select
        from unnest(lane.failed || lane.pending) as at
        where at > excluded.pending[1] - excluded.hold
    )
    returning key
), refused as (
    select
        bool_and(ended.attempts < lanes.failures) as is_busy,
        max(ceil(extract(epoch from ended.latest + lanes.hold - moment.at)))::int8 as retry_after_seconds
    from lanes
    cross join moment
    join login_guesses as lane on lane.key = lanes.key
    cross join lateral (
        select count(*) filter (where is_over) as attempts, max(at) as latest
        from (
            select unnest(lane.failed) as at, true as is_over
            union all
            select at, at < moment.at - interval '10 seconds' from unnest(lane.pending) as at
        ) as attempts
        where at > moment.at - lanes.within
    ) as ended
    where lanes.key not in (select key from admitted)
), pruned as (
    delete from login_guesses
    where key in (
        select key
        from login_guesses
        where expires_at < now()
          and key not in (select key from lanes)
        order by expires_at
        limit 10
        for update skip locked
    )
)
select
    moment.at::text as mark,
    (select jsonb_agg(encode(key, 'hex')) from admitted) as admitted,
    coalesce(refused.is_busy, true) as is_busy,
    coalesce(refused.retry_after_seconds, 1) as retry_after_seconds
from moment
cross join refused
