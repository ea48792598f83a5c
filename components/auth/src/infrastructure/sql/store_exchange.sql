-- An exchange of a token of the session $1, and the token $6 that was given for it. No row: too late.
--
-- Two rows are the gate. The user's, which is locked first: they have to be active, of the version $8 that the access token
-- is made of, and of the session's epoch. Who changes or deactivates them waits for this, or this for them. And the
-- session's: it has to be of the generation $2 that was decided on, and not revoked.
with account as (
    select id, session_epoch
    from users
    where id = $7::uuid
      and is_active
      and version = $8::int8
    for share
), session as (
    update sessions
    set generation = $3::int8,
        exchanged_hash = $4::bytea,
        exchanged_at = $5::timestamp at time zone 'utc'
    from account
    where sessions.id = $1::uuid
      and sessions.user_id = account.id
      and sessions.user_epoch = account.session_epoch
      and sessions.generation = $2::int8
      and sessions.revoked_at is null
    returning sessions.id, sessions.generation, sessions.expires_at
)
insert into refresh_tokens (token_hash, session_id, generation, expires_at)
select $6::bytea, id, generation, expires_at
from session
returning session_id
