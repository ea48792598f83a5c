-- The rows $1 are to be published again: all that are meant of their keys at once. They are due now, for polls look
-- among what became due long ago only now and then.
update {schema}.outbox_messages
set processed_at = null,
    due_at = now()
where id = any ($1::bigint[])
and processed_at is not null
and parked_at is null
