select id, amount_minor, cancelled_at is not null as is_cancelled, now() - created_at as untouched_for
from orders
