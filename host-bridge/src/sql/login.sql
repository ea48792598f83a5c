-- What makes the login $1 be what it should. $2 its schema, or null if that is in another database. $3 the verifier of its
-- password, or null to leave that as it is.
select statement
from (
    values
    (1, case when not exists (select from pg_roles where rolname = $1::text) then format('create role %I login', $1::text) end),
    (2, case when $3::text is not null then format('alter role %I with login password %L', $1::text, $3::text) end),
    -- An admin who is no superuser must be able to act as the login, to give it a schema.
    (3, case when not (select rolsuper from pg_roles where rolname = current_user)
        then format('grant %I to current_user', $1::text) end),
    (4, format('grant connect on database %I to %I', current_database(), $1::text)),
    (5, case when $2::text is not null
        then format('alter role %I in database %I set search_path to %I', $1::text, current_database(), $2::text) end),
    (6, case when $2::text is not null and not exists (select from pg_namespace where nspname = $2::text)
        then format('create schema %I authorization %I', $2::text, $1::text) end)
) as statements (place, statement)
order by place
