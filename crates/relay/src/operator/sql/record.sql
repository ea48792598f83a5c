insert into bridge.dead_letter_acts (by_whom, act, subject, event_id, reason)
values ($1, $2, $3, $4, $5)
