-- The parked row $1 waits for nobody any more. It stays parked, so that a replay does not take it for published.
update {schema}.outbox_messages
set processed_at = now()
where id = $1
