-- The session that gave out the token of the hash $1, with its user.
select
    sessions.id as session_id, sessions.generation, sessions.exchanged_hash,
    sessions.exchanged_at at time zone 'utc' as exchanged_at, sessions.expires_at at time zone 'utc' as expires_at,
    sessions.revoked_at is not null or sessions.user_epoch <> users.session_epoch as is_revoked,
    refresh_tokens.generation as token_generation, now() at time zone 'utc' as now,
    users.id, users.email, users.full_name, users.role, users.is_active, users.version,
    users.created_at at time zone 'utc' as created_at
from refresh_tokens
join sessions on sessions.id = refresh_tokens.session_id
join users on users.id = sessions.user_id
where refresh_tokens.token_hash = $1::bytea
