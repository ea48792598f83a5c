-- One user, deactivated or not.
select
    id, email, full_name, role, is_active, version, created_at at time zone 'utc' as created_at
from users
where id = $1::uuid
