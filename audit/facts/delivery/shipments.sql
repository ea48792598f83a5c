select id, order_id, status, now() - updated_at as untouched_for
from shipments
