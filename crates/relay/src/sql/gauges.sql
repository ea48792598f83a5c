-- What a service says of itself: a view of its own, whose rows are few.
select name, labels, value
from {schema}.gauges
limit 200
