-- Always: nothing is sold that is not there.
select 'flower ' || id as subject, 'its stock is ' || stock_quantity as what
from catalog_flowers
where stock_quantity < 0
