-- Has every table of the schema $1 stop the sessions that are to be stopped.
select format(
    'create trigger stage_stall before insert or update or delete on %s for each statement execute function stage.stall()',
    oid::regclass
) as statement
from pg_class
where relnamespace = $1::text::regnamespace
  and relkind = 'r'
