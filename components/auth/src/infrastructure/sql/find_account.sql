-- The account whose address is $1 without case, deactivated or not, and whether it is familiar with the client $2.
select
    id, email, full_name, role, is_active, version, created_at at time zone 'utc' as created_at, password_hash,
    exists (
        select
        from sessions
        where user_id = users.id
          and client_hash = $2::bytea
          and expires_at > now()
    ) as is_familiar
from users
where email_key = $1::text
