-- A new user with their first session and its first token, all or nothing. The unique constraint users_email_key decides
-- between two who want the same address at once.
with begun as (
    select $11::timestamp at time zone 'utc' as at, $3::timestamp at time zone 'utc' as expires_at
), new_user as (
    insert into users (id, email, email_key, password_hash, full_name, role, created_at, updated_at)
    select $2::uuid, $6::text, $7::text, $8::text, $9::text, $10::text, begun.at, begun.at
    from begun
    returning id, session_epoch
), session as (
    insert into sessions (id, user_id, user_epoch, client_hash, created_at, expires_at)
    select $1::uuid, new_user.id, new_user.session_epoch, $5::bytea, begun.at, begun.expires_at
    from new_user
    cross join begun
    returning id, generation, expires_at
)
insert into refresh_tokens (token_hash, session_id, generation, expires_at)
select $4::bytea, id, generation, expires_at
from session
