-- Takes the row $1, if it is parked and nobody has it.
select event_id::text
from {schema}.outbox_messages
where id = $1
and parked_at is not null
and processed_at is null
for update skip locked
