-- Those of the settings that durability rests on which are off in this session.
select name
from pg_settings
where name in ('fsync', 'synchronous_commit', 'full_page_writes')
and setting = 'off'
order by name
