-- Once quiet: what was taken and not given back is the total of the orders that are paid and not cancelled.
select
    'order ' || orders.id as subject,
    format('it is %s and costs %s, %s is taken for it (minor units)', orders.status, orders.total_minor, taken.minor)
        as what
from quiet_orders orders
cross join lateral (
    select coalesce(sum(payment.amount_minor), 0)::int8 as minor
    from payment_payments payment
    where payment.order_id = orders.id
    and payment.status = 'completed'
) as taken
where taken.minor <> case
    when orders.status in ('payment_completed', 'shipping', 'completed') then orders.total_minor
    else 0
end
