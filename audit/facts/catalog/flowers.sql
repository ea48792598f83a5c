select id, stock_quantity
from flowers
