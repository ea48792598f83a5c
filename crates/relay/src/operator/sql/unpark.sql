-- The row $1 is due again, as if it never had been tried.
update {schema}.outbox_messages
set parked_at = null,
    attempts = 0,
    due_at = now()
where id = $1
