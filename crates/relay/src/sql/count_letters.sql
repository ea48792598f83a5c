-- How many letters of each queue wait for an operator.
select queue, count(*)
from bridge.dead_letters
where resolved_at is null
group by queue
