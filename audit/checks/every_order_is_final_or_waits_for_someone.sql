-- Once quiet: an order that is not final waits for somebody who has a name: for payment or its customer before the
-- deadline, for delivery, for the courier. Past the deadline only a charge that is under way keeps it.
select
    'order ' || orders.id as subject,
    case
        when orders.status = 'payment_completed' then 'it is paid, and the catalog has never answered'
        when orders.is_past_deadline
            then format('it is %s, its payment was due at %s', orders.status, orders.payment_due_at)
        else format('it is %s without a deadline, and no payment of it is under way', orders.status)
    end as what
from quiet_orders orders
left join lateral (
    select true as is_there
    from payment_payments payment
    where payment.order_id = orders.id
    and payment.status = 'processing'
    limit 1
) as under_way on true
where case
    when orders.status in ('created', 'payment_failed') and under_way.is_there then false
    when orders.status in ('created', 'payment_failed') and orders.payment_due_at is not null
        then orders.is_past_deadline
    when orders.status = 'created' then true
    when orders.status = 'payment_completed' then not orders.stock_reserved
    else false
end
