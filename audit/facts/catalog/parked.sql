-- Rows of the outbox that wait for an operator.
select id, event_type, payload -> 'data' ->> 'order_id' as order_id, last_error
from outbox_messages
where parked_at is not null
and processed_at is null
