-- Charges that got no answer for longer than it takes to look them up, and refunds that are not made.
select
    'payment ' || payment.id as subject,
    case
        when payment.status = 'processing' then format('processing for %s', date_trunc('second', payment.untouched_for))
        else 'its order is cancelled, and the money is not back'
    end || ' (order ' || payment.order_id || ')' as what
from payment_payments payment
join payment_orders orders on orders.id = payment.order_id
where (payment.status = 'processing' or (payment.status = 'completed' and orders.is_cancelled))
and payment.untouched_for > greatest(interval '5 minutes', current_setting('audit.grace')::interval)
