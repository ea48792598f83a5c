-- One order with its lines; $2, where it is given, must own it.
select
    id, user_id, status, status_reason, total_minor, delivery_address, payment_method,
    payment_due_at at time zone 'utc' as payment_due_at, payment_attempt, stock_reserved, version,
    created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at,
    (
        select jsonb_agg(to_jsonb(item) order by item.position)
        from order_items as item
        where item.order_id = orders.id
    ) as items
from orders
where id = $1::uuid
  and ($2::uuid is null or user_id = $2::uuid)
