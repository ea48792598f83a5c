-- An attempt that was let through at $2 has ended, in the lanes $1: it counts if it failed ($3).
with lanes as materialized (
    select key
    from login_guesses
    where key in (select decode(lane.key, 'hex') from jsonb_array_elements_text($1::jsonb) as lane (key))
    order by key
    for update
)
update login_guesses
set pending = array_remove(pending, $2::text::timestamptz),
    failed = case when $3::bool then failed || $2::text::timestamptz else failed end
where key in (select key from lanes)
