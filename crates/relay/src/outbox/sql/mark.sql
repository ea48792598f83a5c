-- A window that the broker has confirmed and not returned. $1 its rows.
update {schema}.outbox_messages
set processed_at = now()
where id = any ($1)
and processed_at is null
