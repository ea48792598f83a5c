-- From here on the session is the login $1 in the schema $2, as the service itself would be.
select statement
from (
    values
    (1, format('set role %I', $1::text)),
    (2, format('set search_path to %I', $2::text))
) as statements (place, statement)
order by place
