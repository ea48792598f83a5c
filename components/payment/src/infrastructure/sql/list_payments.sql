-- A page of the payments of the order $1, oldest first, and how many it has in all; $2, where it is given, must own
-- the order. No row: no such order. One row without a payment says the count of a page that is empty.
with page as (
    select
        id, order_id, attempt, user_id, amount_minor, status, payment_method, transaction_id, failure_reason,
        created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at
    from payments
    where order_id = $1::uuid
    order by attempt
    limit $4::int8
    offset $3::int8
)
select
    (select count(*) from payments where order_id = orders.id) as total,
    page.*
from orders
left join page on true
where orders.id = $1::uuid
  and ($2::uuid is null or orders.user_id = $2::uuid)
order by page.attempt
