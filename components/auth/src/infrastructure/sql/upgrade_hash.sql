-- Keeps the hash $3 of a password instead of $2, if that is still the one.
update users
set password_hash = $3::text
where id = $1::uuid
  and password_hash = $2::text
