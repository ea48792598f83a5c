-- Once quiet: what is reserved for an order, or was sold to it, is what it names; bouquets may need more.
select
    'order ' || line.order_id as subject,
    format('of flower %s it names %s and has %s', line.flower_id, line.quantity, coalesce(item.quantity, 0)) as what
from ordering_flower_lines line
join quiet_orders orders on orders.id = line.order_id
join catalog_reservations reservation on reservation.order_id = line.order_id
    and reservation.status in ('reserved', 'sold')
left join catalog_reservation_items item on item.order_id = line.order_id and item.flower_id = line.flower_id
where coalesce(item.quantity, 0) < line.quantity
or (coalesce(item.quantity, 0) > line.quantity and not line.has_bouquets)
