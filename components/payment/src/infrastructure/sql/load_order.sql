-- The order $1 with its payments, oldest first; $2, where it is given, must own it.
select
    id, user_id, amount_minor, payment_method, cancelled_at is not null as is_cancelled, version,
    payment_due_at at time zone 'utc' as payment_due_at,
    (
        select jsonb_agg(to_jsonb(payment) order by payment.attempt)
        from payments as payment
        where payment.order_id = orders.id
    ) as payments
from orders
where id = $1::uuid
  and ($2::uuid is null or user_id = $2::uuid)
