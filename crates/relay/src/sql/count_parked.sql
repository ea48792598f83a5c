-- How many rows wait for an operator. Served by the partial index of parked rows.
select count(*)
from {schema}.outbox_messages
where parked_at is not null
and processed_at is null
