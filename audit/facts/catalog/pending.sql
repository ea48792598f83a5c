-- What is due and not published yet, by the order that it is about.
select distinct payload -> 'data' ->> 'order_id' as order_id
from outbox_messages
where processed_at is null
and parked_at is null
and due_at <= now()
and payload -> 'data' ->> 'order_id' is not null
