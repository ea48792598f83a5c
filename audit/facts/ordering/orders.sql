-- Every order, with what its history and lines come to.
select
    orders.id,
    orders.status,
    orders.status_reason,
    orders.total_minor,
    orders.payment_due_at,
    orders.payment_due_at < now() as is_past_deadline,
    orders.stock_reserved,
    now() - orders.updated_at as untouched_for,
    (
        select history.status
        from order_history history
        where history.order_id = orders.id
        order by history.version desc, history.position desc
        limit 1
    ) as last_status,
    exists (
        select
        from order_history final
        join order_history later on later.order_id = final.order_id
            and (later.version, later.position) > (final.version, final.position)
        where final.order_id = orders.id
        and final.status in ('completed', 'cancelled')
    ) as left_a_final_status,
    (
        select coalesce(sum(item.quantity * item.price_minor), 0)::int8
        from order_items item
        where item.order_id = orders.id
    ) as lines_minor
from orders
