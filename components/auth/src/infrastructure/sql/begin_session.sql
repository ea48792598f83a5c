-- A session of the user $2 with its first token, and the user as they are now. No row: they are not active any more. Their
-- row is the gate: who changes or deactivates them waits for this, or this for them.
with account as (
    select
        id, email, full_name, role, is_active, version, created_at at time zone 'utc' as created_at, session_epoch
    from users
    where id = $2::uuid
      and is_active
    for share
), session as (
    insert into sessions (id, user_id, user_epoch, client_hash, created_at, expires_at)
    select $1::uuid, id, session_epoch, $5::bytea, now(), $3::timestamp at time zone 'utc'
    from account
    returning id, generation, expires_at
), token as (
    insert into refresh_tokens (token_hash, session_id, generation, expires_at)
    select $4::bytea, id, generation, expires_at
    from session
)
select id, email, full_name, role, is_active, version, created_at
from account
