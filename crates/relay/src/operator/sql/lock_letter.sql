-- Takes letter $1, if it is open and nobody has it.
select
    queue, event_id, event_type, routing_key, ordering_key, body, properties, headers
from bridge.dead_letters
where id = $1
and resolved_at is null
for update skip locked
