-- Nobody but the logins that are named below may connect, or put anything into the schema that all share.
select statement
from (
    values
    (1, format('revoke all on database %I from public', current_database())),
    (2, 'revoke all on schema public from public')
) as statements (place, statement)
order by place
