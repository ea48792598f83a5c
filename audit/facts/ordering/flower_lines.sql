-- How much of each flower an order names, and whether it has bouquets besides, whose flowers only the catalog knows.
select
    item.order_id,
    item.flower_id,
    sum(item.quantity)::int8 as quantity,
    exists (
        select
        from order_items bouquet
        where bouquet.order_id = item.order_id
        and bouquet.bouquet_id is not null
    ) as has_bouquets
from order_items item
where item.flower_id is not null
group by item.order_id, item.flower_id
