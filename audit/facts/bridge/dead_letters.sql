-- Letters that wait for an operator.
select id, queue, event_type, payload -> 'data' ->> 'order_id' as order_id, reason
from dead_letters
where resolved_at is null
