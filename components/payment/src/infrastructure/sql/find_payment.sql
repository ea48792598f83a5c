-- One payment; $2, where it is given, must own it.
select
    id, order_id, attempt, user_id, amount_minor, status, payment_method, transaction_id, failure_reason,
    created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at
from payments
where id = $1::uuid
  and ($2::uuid is null or user_id = $2::uuid)
