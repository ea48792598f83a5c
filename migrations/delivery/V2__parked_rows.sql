-- Parked rows of the outbox: the bridge counts and lists what waits for an operator. One that was discarded is
-- processed as well.
create index outbox_messages_parked on outbox_messages (id) where parked_at is not null and processed_at is null;
