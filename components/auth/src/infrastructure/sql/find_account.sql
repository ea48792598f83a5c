-- The account whose address is $1 without case, deactivated or not.
select
    id, email, full_name, role, is_active, created_at at time zone 'utc' as created_at, password_hash
from users
where email_key = $1::text
