-- A new user. The unique constraint users_email_key decides between two who want the same address at once.
insert into users (id, email, email_key, password_hash, full_name, role, created_at, updated_at)
select
    $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text, at.utc, at.utc
from (select $7::timestamp at time zone 'utc' as utc) as at
