-- Every attempt, with the keys under which the provider knows it.
select
    id,
    order_id,
    amount_minor,
    status,
    transaction_id,
    id || ':' || attempt as charge_key,
    now() - updated_at as untouched_for
from payments
