-- Ends the session that gave out the token of the hash $1, if there is one.
update sessions
set revoked_at = now()
where id = (select session_id from refresh_tokens where token_hash = $1::bytea)
  and revoked_at is null
