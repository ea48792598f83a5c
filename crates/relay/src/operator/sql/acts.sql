select at, by_whom, act, reason
from bridge.dead_letter_acts
where subject = $1
order by id
