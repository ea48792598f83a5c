-- An exchange of a token of the session $1, and the token $6 that was given for it. No row: too late. The session's row is
-- the gate: it has to be of the generation $2 that was decided on, and not revoked.
with session as (
    update sessions
    set generation = $3::int8,
        exchanged_hash = $4::bytea,
        exchanged_at = $5::timestamp at time zone 'utc'
    where id = $1::uuid
      and generation = $2::int8
      and revoked_at is null
    returning id, generation, expires_at
)
insert into refresh_tokens (token_hash, session_id, generation, expires_at)
select $6::bytea, id, generation, expires_at
from session
returning session_id
