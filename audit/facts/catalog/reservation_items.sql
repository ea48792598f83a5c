select order_id, flower_id, quantity::int8 as quantity
from reservation_items
