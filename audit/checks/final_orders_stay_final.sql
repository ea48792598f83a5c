-- Always: no order leaves completed or cancelled.
select 'order ' || id as subject, 'its history goes on after a final status' as what
from ordering_orders
where left_a_final_status
