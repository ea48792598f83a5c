-- Once quiet: stock is held for orders that live, sold to those that are completed, and given back of those that are
-- cancelled. How much there was at the start, and what an admin corrected since, no table tells: that the stock itself
-- adds up cannot be checked, only that each reservation is where it belongs.
select
    'order ' || orders.id as subject,
    format('it is %s, its reservation is %s', orders.status, coalesce(reservation.status, 'not there')) as what
from quiet_orders orders
left join catalog_reservations reservation on reservation.order_id = orders.id
where not case orders.status
    when 'completed' then reservation.status = 'sold'
    when 'cancelled' then reservation.status in ('released', 'rejected', 'withdrawn')
    else reservation.status = 'reserved' and orders.stock_reserved
end is true
